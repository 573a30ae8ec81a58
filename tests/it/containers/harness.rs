//! Traces show all changes of a command and its children.

use crate::support::strace::{FILES, Trace};
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program};

#[test]
fn a_trace_sees_arguments_and_changes_of_all_processes() {
    if !has_program("strace") {
        return;
    }
    let tree = TreeHost::bare().file("/f", "");
    let root = tree.at("").display().to_string();
    let trace = |script: &str| {
        let call = tree.shell(script).arg(root.clone());
        Trace::of(&tree, &format!("execve,{FILES}"), call).1
    };
    let nested = trace("sh -c 'sh -c \"echo hidden-word >/dev/null\"'");
    assert!(nested.lines.iter().any(|line| line.contains("execve(") && line.contains("hidden-word")));
    let reading = trace("cat $0/f; ls -l $0; stat $0/f; readlink $0/f; test -w $0/f; cd $0; true");
    assert_eq!(reading.changes(&[]), Vec::<&str>::new());
    for script in [
        "echo x >$0/f",
        "echo x >>$0/f",
        ": >$0/new",
        "mkdir $0/d",
        "rmdir $0/d",
        "mv $0/f $0/g",
        "ln $0/f $0/h",
        "touch $0/f",
        "ln -s f $0/l",
        "chmod 600 $0/f",
        "chown 1 $0/f",
        "rm $0/f",
        "truncate -s 1 $0/g",
        "mkfifo $0/p",
        "echo x >/dev/shm/mitigator-vpn-test; rm /dev/shm/mitigator-vpn-test",
    ] {
        let trace = trace(script);
        assert!(!trace.changes(&[("/dev/null", "")]).is_empty(), "{script}: {:#?}", trace.lines);
    }
    let allowed = trace("echo x >/dev/null; echo x >$0/new");
    assert_eq!(allowed.changes(&[("/dev/null", "it swallows all"), (&root, "this time")]), Vec::<&str>::new());
}
