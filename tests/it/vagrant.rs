//! The nodes of vagrant/, from `vagrant up` to `vagrant destroy`; scripts/vagrant-test runs it.

use crate::support::life;
use crate::support::vagrant::Lab;

#[test]
fn the_nodes_of_vagrant_become_a_cluster_and_bare_again() {
    let Some(lab) = Lab::new() else { return };
    let nodes = lab.bare(["node-1", "node-2", "node-3"]);
    life::live(&lab, &nodes);
}
