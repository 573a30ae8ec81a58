//! Questions to the Docker daemon, over its own socket: its client needs 25 ms to start, the daemon one to answer, and
//! a preflight has half a dozen questions. What changes something goes through the client.
//!
//! The socket is this host's own, whatever context the client is set to: an instance's files are mounted, and its
//! processes run, here or nowhere.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Host;
use crate::error::{Context, Error, Result};
use crate::message;

pub(super) const SOCKET: &str = "/var/run/docker.sock";
/// A daemon that needs longer than this is as good as none.
const PATIENCE: Duration = Duration::from_secs(15);
/// Answers are some kilobytes; thousands of containers make some megabytes.
const LIMIT: usize = 64 << 20;

impl Host {
    /// The JSON that the daemon answers to `GET path`; its own words where it refuses.
    pub(crate) fn ask_docker(&self, path: &str) -> Result<String> {
        if !self.is_live() {
            return Err(Error::unexpected(message!("a mounted tree runs no daemon")));
        }
        tracing::debug!(path, "ask docker");
        let answer = get(path).with_context(|| message!("the Docker daemon at {socket}", socket = SOCKET))?;
        body(&answer)
    }
}

/// HTTP/1.0, so that the answer comes in one piece and the daemon closes after it. Without a version in the path it
/// speaks its newest one.
fn get(path: &str) -> io::Result<Vec<u8>> {
    ask(UnixStream::connect(SOCKET)?, path, PATIENCE)
}

/// One that says a little now and then hasn't answered in time either.
fn ask(mut stream: UnixStream, path: &str, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let (mut answer, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) if answer.len() + count > LIMIT => return Err(ErrorKind::FileTooLarge.into()),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
}

#[derive(Default, Deserialize)]
struct Refusal {
    message: String,
}

fn body(answer: &[u8]) -> Result<String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .filter(|(head, _)| head.starts_with("HTTP/1."))
        .ok_or_else(|| Error::unexpected(message!("what listens at {socket} is no Docker daemon", socket = SOCKET)))?;
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if length.next().is_some_and(|(_, length)| length.trim().parse() != Ok(body.len())) {
        return Err(Error::unexpected(message!("the answer of the Docker daemon is cut off")));
    }
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status == "200" {
        return Ok(body.to_owned());
    }
    let refusal: Refusal = serde_json::from_str(body).unwrap_or_default();
    let words = refusal.message;
    Err(Error::unexpected(message!("the Docker daemon refuses with status {status}: {words}", status, words)))
}

/// One value as it may stand in a query: all that has a meaning in one as `%XX`.
pub(crate) fn encoded(value: &str) -> String {
    let character = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_body_and_a_refusal_the_daemons_words() {
        let answer = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Version\":\"20.10.24\"}\n";
        assert_eq!(body(answer).unwrap(), "{\"Version\":\"20.10.24\"}\n");
        let refusal = b"HTTP/1.0 404 Not Found\r\n\r\n{\"message\":\"No such container: x\"}";
        assert!(body(refusal).unwrap_err().to_string().ends_with("status 404: No such container: x"));
        for other in [&b""[..], b"220 mail.example ESMTP\r\n\r\n", b"HTTP/1.0 200"] {
            assert!(body(other).unwrap_err().to_string().contains("no Docker daemon"));
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_late_or_endless_is_none() {
        let short = b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n[]";
        assert!(body(short).unwrap_err().to_string().contains("cut off"));
        assert!(body(b"HTTP/1.0 500 Internal Server Error\r\n\r\n").is_err());
        // One byte now and then, and then a great many.
        for (pause, piece) in [(20, 1), (0, 1 << 20)] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let daemon = std::thread::spawn(move || {
                while theirs.write_all(&vec![b'x'; piece]).is_ok() {
                    std::thread::sleep(Duration::from_millis(pause));
                }
            });
            let patience = if pause > 0 { Duration::from_millis(200) } else { PATIENCE };
            assert!(ask(ours, "/x", patience).is_err());
            daemon.join().unwrap();
        }
    }

    #[test]
    fn a_mounted_tree_is_not_answered_for_by_the_daemon_of_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Host::at(dir.path()).unwrap().ask_docker("/version").is_err());
    }

    #[test]
    fn a_value_in_a_query_keeps_every_character() {
        assert_eq!(encoded(r#"{"a":["b=/c d"]}"#), "%7B%22a%22%3A%5B%22b%3D%2Fc%20d%22%5D%7D");
        assert_eq!(encoded("é"), "%C3%A9");
    }
}
