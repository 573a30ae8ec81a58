//! The default gateway's image, made on the host from the running executable: no registry, no Dockerfile, no build. It is
//! what `docker load` takes: a tar of one layer, its configuration, and a manifest.
//!
//! The same ingredients give the same bytes. The tag names the executable, so a changed one is another image: compose
//! sees another configuration (FN-57), and makes the gateway anew.

mod elf;
mod layer;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use self::layer::Layer;
use super::userspace;
use crate::error::{Context, Error, Result};
use crate::host::{Cmd, Host};
use crate::message;
use crate::message::Message;

/// The image's name, without the tag.
pub const NAME: &str = "mitigator-vpn-gateway";

/// Where the executable is in the image.
const EXECUTABLE: &str = "/usr/local/bin/mitigator-vpn";

/// What goes into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingredients {
    /// The executable of this program.
    pub executable: PathBuf,
    /// A userspace implementation, for a host whose kernel has no WireGuard.
    pub userspace: Option<PathBuf>,
}

impl Ingredients {
    /// The running executable, and wireguard-go if it is asked for.
    pub fn of_this_host(host: &Host, userspace: bool) -> Result<Self> {
        let program = || {
            host.program(userspace::PROGRAM)?.ok_or_else(|| {
                let program = userspace::PROGRAM;
                Error::unexpected(message!("this kernel has no WireGuard, and {program} is not here", program))
                    .hint(Message::foreign("mitigator-vpn explain kernel-wireguard"))
            })
        };
        Ok(Ingredients { executable: executable()?, userspace: userspace.then(program).transpose()? })
    }
}

/// The running executable.
pub fn executable() -> Result<PathBuf> {
    std::env::current_exe().context(message!("looking for the running executable"))
}

/// The digest that an image with this executable is named by.
pub fn digest(host: &Host, executable: &Path) -> Result<String> {
    Ok(hex(&Sha256::digest(read(host, executable)?)))
}

/// Name and tag of the image: `mitigator-vpn-gateway:0.1.0-3f1c0a9be2d4`, with the beginning of the executable's digest. A
/// plan names the image before wireguard-go is installed, so the tag only says whether that is in it.
pub fn reference(digest: &str, userspace: bool) -> String {
    let suffix = if userspace { "-userspace" } else { "" };
    format!("{NAME}:{}-{}{suffix}", env!("CARGO_PKG_VERSION"), &digest[..12])
}

/// An image without its bytes: the layer can be large, so it is written anew each time.
#[derive(Debug)]
pub struct Image {
    reference: String,
    layer: Layer,
    diff_id: String,
    config: Vec<u8>,
}

impl Image {
    /// Reads the ingredients.
    pub fn new(host: &Host, ingredients: &Ingredients) -> Result<Self> {
        let mut layer = Layer::default();
        // A mount point, and a directory that wireguard-go needs.
        for directory in ["/srv", "/run/wireguard"] {
            layer.directory(directory);
        }
        layer.link("/var/run", "../run");
        add_program(&mut layer, host, &ingredients.executable, EXECUTABLE)?;
        for name in ["gateway", "reconfigure"] {
            layer.link(&format!("/usr/local/bin/{name}"), "mitigator-vpn");
        }
        if let Some(program) = &ingredients.userspace {
            add_program(&mut layer, host, program, &format!("/usr/local/bin/{}", userspace::PROGRAM))?;
        }
        let mut digest = Digesting(Sha256::new());
        layer.write(&mut digest).context(message!("putting the gateway's image together"))?;
        let diff_id = hex(&digest.0.finalize());
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": [EXECUTABLE, "gateway", "run"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "WorkingDir": "/",
                "Labels": {
                    "org.opencontainers.image.title": NAME,
                    "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                },
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "mitigator-vpn" }],
        });
        let executable = self::digest(host, &ingredients.executable)?;
        let reference = reference(&executable, ingredients.userspace.is_some());
        Ok(Image { reference, layer, diff_id, config: config.to_string().into_bytes() })
    }

    /// Name and tag, as [`reference()`] gives them.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Writes what `docker load` reads, with this name for the image.
    pub fn write(&self, out: &mut dyn Write, name: &str) -> Result<()> {
        let config = format!("{}.json", self.id());
        let blob = format!("{}.tar", self.diff_id);
        let manifest = json!([{ "Config": &config, "RepoTags": [name], "Layers": [&blob] }]);
        let write = || -> io::Result<()> {
            let mut layer = Vec::new();
            self.layer.write(&mut layer)?;
            let mut archive = tar::Builder::new(out);
            layer::append_file(&mut archive, &config, &self.config, 0o644)?;
            layer::append_file(&mut archive, &blob, &layer, 0o644)?;
            layer::append_file(&mut archive, "manifest.json", manifest.to_string().as_bytes(), 0o644)?;
            archive.into_inner()?.flush()
        };
        write().with_context(|| message!("writing the image {name}", name))
    }

    fn id(&self) -> String {
        hex(&Sha256::digest(&self.config))
    }
}

/// Adds a program, and what it needs to start: nothing if it is static, else its loader and libraries.
fn add_program(layer: &mut Layer, host: &Host, program: &Path, to: &str) -> Result<()> {
    let bytes = read(host, program)?;
    let dynamic = elf::is_dynamic(&bytes).ok_or_else(|| {
        Error::input(message!("{path} is no 64-bit ELF program", path = host.display(program)))
            .hint(message!("build it: {command}", command = "scripts/build-static"))
    })?;
    layer.program(to, bytes);
    if dynamic {
        let cmd = Cmd::new("ldd").arg(program.display().to_string());
        let listed = host.query(&cmd)?.success(format!("'{cmd}'"))?;
        for library in elf::libraries(&listed.stdout) {
            layer.program(library, read(host, Path::new(library))?);
        }
    }
    Ok(())
}

fn read(host: &Host, path: &Path) -> Result<Vec<u8>> {
    host.read_program(path)?.ok_or_else(|| Error::unexpected(message!("{path} is gone", path = host.display(path))))
}

/// The name that images have for the architecture we were built for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Digests what is written to it.
struct Digesting(Sha256);

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    /// An image of minimal ELF programs.
    fn image(executable: &[u8]) -> Image {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("me"), elf::tests::program(1, executable)).unwrap();
        std::fs::write(dir.path().join("wg-go"), elf::tests::program(1, b"go")).unwrap();
        let ingredients = Ingredients { executable: "/me".into(), userspace: Some("/wg-go".into()) };
        Image::new(&Host::at(dir.path()).unwrap(), &ingredients).unwrap()
    }

    fn written(image: &Image) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write(&mut bytes, image.reference()).unwrap();
        bytes
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn the_same_executable_is_the_same_image_and_another_is_another() {
        let (one, two, other) = (image(b"one"), image(b"one"), image(b"other"));
        assert_eq!(written(&one), written(&two));
        assert_ne!(one.reference(), other.reference());
        assert!(one.reference().starts_with(&format!("{NAME}:{}-", env!("CARGO_PKG_VERSION"))));
    }

    #[test]
    fn the_archive_is_consistent_with_its_digests() {
        let image = image(b"one");
        let files = files(&written(&image));
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], image.reference());
        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(manifest[0]["Config"], format!("{}.json", hex(&Sha256::digest(config))));
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&Sha256::digest(layer))));
    }

    #[test]
    fn the_layer_holds_the_programs_and_the_names_they_are_called_by() {
        let image = image(b"one");
        let layer = files(&files(&written(&image))[&format!("{}.tar", image.diff_id)]);
        for name in ["mitigator-vpn", "wireguard-go", "reconfigure", "gateway"] {
            assert!(layer.contains_key(&format!("usr/local/bin/{name}")), "{:?}", layer.keys());
        }
        assert!(layer["usr/local/bin/mitigator-vpn"].ends_with(b"one"));
        assert!(layer.contains_key("srv/") && layer.contains_key("run/wireguard/"), "{:?}", layer.keys());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("me"), "#!/bin/sh\n").unwrap();
        let ingredients = Ingredients { executable: "/me".into(), userspace: None };
        let error = Image::new(&Host::at(dir.path()).unwrap(), &ingredients).unwrap_err();
        assert!(error.to_string().contains("no 64-bit ELF program"), "{error}");
    }
}
