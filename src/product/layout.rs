use std::path::{Path, PathBuf};

use super::PRODUCT;

/// The paths of one instance's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceLayout<'d> {
    /// The instance's directory.
    pub dir: &'d Path,
}

impl<'d> InstanceLayout<'d> {
    /// The layout of the instance in `dir`.
    pub(crate) fn new(dir: &'d Path) -> Self {
        InstanceLayout { dir }
    }

    /// vpn-private.conf.
    pub(crate) fn private_conf(self) -> PathBuf {
        self.dir.join(PRODUCT.files.private_conf)
    }

    /// vpn-public.conf.
    pub(crate) fn public_conf(self) -> PathBuf {
        self.dir.join(PRODUCT.files.public_conf)
    }

    /// vpn-history.json.
    pub(crate) fn history(self) -> PathBuf {
        self.dir.join(PRODUCT.files.history)
    }

    /// docker-compose.yml.
    pub(crate) fn base(self) -> PathBuf {
        self.dir.join(PRODUCT.files.base)
    }

    /// docker-compose.vpn.yml.
    pub(crate) fn overlay(self) -> PathBuf {
        self.dir.join(PRODUCT.files.overlay)
    }

    /// `.env`.
    pub(crate) fn env(self) -> PathBuf {
        self.dir.join(PRODUCT.files.env)
    }
}
