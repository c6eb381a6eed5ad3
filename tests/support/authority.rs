//! An authority of a test's own, which signs certificates for mail servers, sound ones and others.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Why a test is skipped.
pub(crate) const NEEDS: &str = "openssl is not installed";

/// How an authority signs: as whom, by what, and since when and until when is told each time.
const SETTINGS: &str = "\
[ca]
default_ca = here
[here]
database = index
new_certs_dir = .
certificate = authority.pem
private_key = authority.key
rand_serial = yes
default_md = sha256
unique_subject = no
copy_extensions = copy
policy = anything
[anything]
commonName = supplied
";

/// An authority; its files go with the value.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new one; `None` where openssl is missing.
    pub(crate) fn found() -> Option<Self> {
        Command::new("openssl").arg("version").output().ok()?;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("settings"), SETTINGS).unwrap();
        fs::write(folder.path().join("index"), "").unwrap();
        let authority = Self { folder };
        authority.sign_itself("authority", "basicConstraints=critical,CA:true");
        Some(authority)
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate for a server at `name`, such as `IP:127.0.0.1`, that ends with the year `until`; its key stands in the same file.
    pub(crate) fn signs(&self, file: &str, name: &str, until: u32) -> PathBuf {
        let (key, request, signed) = (format!("{file}.key"), format!("{file}.csr"), format!("{file}.crt"));
        let name = format!("subjectAltName={name}");
        self.openssl(&[&KEY[..], &["-new", "-keyout", &key, "-out", &request, "-subj", "/CN=relay", "-addext", &name]].concat());
        let until = format!("{until}1231235959Z");
        let dates = ["-startdate", "20200101000000Z", "-enddate", &until];
        self.openssl(&[&["ca", "-batch", "-notext", "-config", "settings", "-in", &request, "-out", &signed], &dates[..]].concat());
        self.chain(file, &key, &signed)
    }

    /// A certificate no authority has signed.
    pub(crate) fn unsigned(&self, file: &str) -> PathBuf {
        self.sign_itself(file, "subjectAltName=IP:127.0.0.1");
        self.chain(file, &format!("{file}.key"), &format!("{file}.pem"))
    }

    fn sign_itself(&self, file: &str, extension: &str) {
        let (key, certificate, subject) = (format!("{file}.key"), format!("{file}.pem"), format!("/CN={file}"));
        let options = ["-x509", "-days", "2", "-keyout", &key, "-out", &certificate, "-subj", &subject, "-addext", extension];
        self.openssl(&[&KEY[..], &options].concat());
    }

    /// Key and certificate in one file, as Postfix reads them.
    fn chain(&self, file: &str, key: &str, certificate: &str) -> PathBuf {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap();
        let chain = self.folder.path().join(format!("{file}.chain"));
        fs::write(&chain, read(key) + &read(certificate)).unwrap();
        chain
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A request with a new key.
const KEY: [&str; 6] = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
