use std::path::{Path, PathBuf};

use super::PRODUCT;

/// The paths of one instance's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLayout<'d> {
    /// The instance's directory.
    pub dir: &'d Path,
}

impl<'d> InstanceLayout<'d> {
    /// The layout of the instance in `dir`.
    pub fn new(dir: &'d Path) -> Self {
        InstanceLayout { dir }
    }

    /// vpn-private.conf.
    pub fn private_conf(self) -> PathBuf {
        self.dir.join(PRODUCT.files.private_conf)
    }

    /// vpn-public.conf.
    pub fn public_conf(self) -> PathBuf {
        self.dir.join(PRODUCT.files.public_conf)
    }

    /// docker-compose.yml.
    pub fn base(self) -> PathBuf {
        self.dir.join(PRODUCT.files.base)
    }

    /// docker-compose.vpn.yml.
    pub fn overlay(self) -> PathBuf {
        self.dir.join(PRODUCT.files.overlay)
    }

    /// `.env`.
    pub fn env(self) -> PathBuf {
        self.dir.join(PRODUCT.files.env)
    }
}
