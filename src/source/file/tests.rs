//! Files in buckets, at addresses and in the project folder, into a real lake.

mod tables;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use arrow::array::{AsArray, RecordBatch};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::get,
};
use chrono::Utc;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::{
    clock::ManualClock,
    diagnosis::{Diagnose, Diagnosis, Exit},
    lake::{
        Lake, LakeSettings,
        server::{Azurite, Moto},
    },
    ledger::{Ledger, LedgerSettings},
    source::{Progress, PullFailure, PullRequest, Pulled, Source, pull},
};

const SECRET: &str = "wJalrXUtnFEMI";

struct Project {
    folder: tempfile::TempDir,
    source: Source,
    lake: Lake,
    ledger: Ledger,
    clock: Arc<ManualClock>,
}

impl Project {
    async fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::parse("till", Path::new("config/sources/till.toml"), settings).unwrap();
        let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
        let ledger = Ledger::open(folder.path(), &LedgerSettings::default()).await.unwrap();
        let clock = Arc::new(ManualClock::at(Utc::now()));
        let project = Self { folder, source, lake, ledger, clock };
        project.write("id", b"AKIATHATSME");
        project.write("secret", SECRET.as_bytes());
        project
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Writes a file as if it had been written a while ago.
    fn write_earlier(&self, name: &str, bytes: &[u8], seconds: u64) {
        self.write(name, bytes);
        let file = std::fs::File::options().write(true).open(self.folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    async fn pull_all(&self, full: bool) -> Result<Pulled, PullFailure> {
        let request = PullRequest {
            sources: std::slice::from_ref(&self.source),
            only: &[],
            full,
            lake: &self.lake,
            ledger: &self.ledger,
            run: "run",
            clock: self.clock.clone(),
            practice: None,
            root: self.folder.path(),
            keys: &crate::secret::Keys::new(crate::secret::Secret::new("0123456789abcdef")),
            progress: Progress::lines(),
        };
        pull(request).await.map(|mut pulled| pulled.remove(0))
    }

    async fn pull(&self) -> Pulled {
        self.pull_all(false).await.unwrap()
    }

    async fn failure(&self) -> Diagnosis {
        self.pull_all(false).await.unwrap_err().diagnosis()
    }

    async fn probe(&self) -> Vec<Diagnosis> {
        let findings = self.source.probe(None, self.folder.path(), self.clock.clone()).await;
        findings.into_iter().map(|finding| finding.diagnosis).collect()
    }

    async fn rows(&self) -> RecordBatch {
        let schema = self.lake.schema("till__orders", None).await.unwrap();
        arrow::compute::concat_batches(&schema, &self.lake.read("till__orders", None).await.unwrap()).unwrap()
    }

    /// Each row's id and name.
    async fn names(&self) -> BTreeMap<String, String> {
        let rows = self.rows().await;
        let texts = |column: &str| -> Vec<String> {
            let column = rows.column_by_name(column).unwrap().as_string::<i32>().clone();
            column.iter().map(|text| text.unwrap_or_default().to_owned()).collect()
        };
        let names: BTreeMap<_, _> = texts("id").into_iter().zip(texts("name")).collect();
        assert_eq!(names.len(), rows.num_rows(), "a key stands in the table twice");
        names
    }
}

fn settings(store: &str, stream: &str) -> String {
    format!(
        "kind = \"file\"\nretry = {{ attempts = 2, wait = \"0s\" }}\n{store}[streams.orders]\n{stream}\nkey = [\"id\"]\n[streams.orders.columns]\nid = \"text\"\nname = \"text\"\n"
    )
}

fn gz(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

fn named(names: &[(&str, &str)]) -> BTreeMap<String, String> {
    names.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect()
}

/// Reads objects by a pattern, over many pages of a listing and more than one read of a body.
async fn is_read_like_a_folder(bucket: &str, store: &str, secret: &str, writes: &Arc<dyn ObjectStore>) {
    let put = async |key: &str, bytes: &[u8]| writes.put(&key.into(), bytes.to_vec().into()).await.unwrap();
    put("orders/2026/a.csv.gz", &gz("id,name\n1,Ada\n2,Bob\n")).await;
    put("orders/2026/b.csv", "id,name\n3,Çelik\n".as_bytes()).await;
    put("orders/2026/old/c.csv", b"id,name\n4,no\n").await;
    put("orders/2026/readme.txt", b"no").await;
    put("orders/2026b/d.csv", b"id,name\n5,no\n").await;
    let project = Project::new(&settings(store, &format!("path = \"{bucket}/orders/2026/*.csv*\"\nmode = \"merge\""))).await;
    project.write("azure-key", secret.as_bytes());
    assert_eq!(project.source.check(project.folder.path()), []);
    assert_eq!(project.probe().await, []);
    let pulled = project.pull().await;
    assert_eq!((pulled.rows, pulled.requests), (3, 2));
    assert_eq!(project.names().await, named(&[("1", "Ada"), ("2", "Bob"), ("3", "Çelik")]));
    assert_eq!(std::fs::read_dir(project.folder.path().join("data/spill")).unwrap().count(), 0, "what was fetched leaves no trace");

    let long: String = (0..40_000).map(|id| format!("{id},{}\n", "x".repeat(40))).collect();
    put("orders/2026/long.csv", format!("id,name\n{long}").as_bytes()).await;
    assert_eq!(project.pull().await.rows, 40_003);
    let exact = Project::new(&settings(store, &format!("path = \"{bucket}/orders/2026/b.csv\"\nfile_name = \"file\""))).await;
    exact.write("azure-key", secret.as_bytes());
    exact.pull().await;
    assert_eq!(exact.rows().await.column_by_name("file").unwrap().as_string::<i32>().value(0), "b.csv");
}

#[tokio::test]
async fn a_bucket_is_read_like_a_folder() {
    let Some(moto) = Moto::start(false).await else { return };
    is_read_like_a_folder("s3://shop", &moto.settings(), "", &moto.store()).await;
}

#[tokio::test]
async fn a_bucket_of_google_is_read_like_a_folder() {
    let Some(moto) = Moto::start(false).await else { return };
    is_read_like_a_folder("gs://shop", &moto.as_google().await, "", &moto.store()).await;
}

#[tokio::test]
async fn a_container_of_azure_is_read_like_a_folder_and_says_what_is_wrong() {
    let Some(azurite) = Azurite::start().await else { return };
    let (store, key) = azurite.settings();
    is_read_like_a_folder("az://shop", &store, key, &azurite.store()).await;

    for (path, key, message) in [
        ("az://shop/nothing/*.csv", key, "till.orders: there is no file `az://shop/nothing/*.csv`"),
        ("az://elsewhere/a/*.csv", key, "till.orders: az://elsewhere/a/*.csv is not there (ContainerNotFound)"),
        ("az://shop/orders/*.csv", "d3Jvbmc=", "till.orders: az://shop/orders/*.csv may not be read (AuthorizationFailure)"),
    ] {
        let project = Project::new(&settings(&store, &format!("path = \"{path}\""))).await;
        project.write("azure-key", key.as_bytes());
        let told = project.failure().await;
        assert_eq!(told.message, message);
        assert!(!format!("{told:?}").contains(key), "{told:?}");
    }
}

#[tokio::test]
async fn a_bucket_that_cannot_be_read_says_which_and_no_secret() {
    let Some(moto) = Moto::start(false).await else { return };
    let missing = Project::new(&settings(&moto.settings(), "path = \"s3://shop/nothing/*.csv\"")).await;
    for told in [missing.failure().await, missing.probe().await.remove(0)] {
        assert_eq!((told.code.as_str(), told.message.as_str()), ("source_file", "till.orders: there is no file `s3://shop/nothing/*.csv`"));
    }
    let nowhere = Project::new(&settings(&moto.settings(), "path = \"s3://elsewhere/a/*.csv\"")).await;
    let told = nowhere.failure().await;
    assert_eq!(told.message, "till.orders: s3://elsewhere/a/*.csv is not there (NoSuchBucket)");
    moto.put("a.csv.gz", &gz("id,name\n1,Ada\n")[..20]).await;
    let cut = Project::new(&settings(&moto.settings(), "path = \"s3://shop/a.csv.gz\"")).await;
    let told = cut.failure().await;
    assert_eq!(told.file.as_deref(), Some(Path::new("s3://shop/a.csv.gz")));
    assert!(told.message.contains("the file cannot be read"), "{told:?}");

    let Some(strict) = Moto::start(true).await else { return };
    let refused = Project::new(&settings(&strict.settings(), "path = \"s3://shop/orders/*.csv\"")).await;
    for told in [refused.failure().await, refused.probe().await.remove(0)] {
        assert_eq!(told.message, "till.orders: s3://shop/orders/*.csv may not be read (InvalidAccessKeyId)");
        let words = format!("{told:?}");
        assert!(told.hint.unwrap().contains("secret_access_key") && !words.contains(SECRET) && !words.contains("AKIATHATSME"), "{words}");
    }
    std::fs::remove_file(refused.folder.path().join("secret")).unwrap();
    let failure = refused.pull_all(false).await.unwrap_err();
    assert_eq!((failure.diagnosis().code.as_str(), failure.exit()), ("secret", Exit::Wrong));
    assert_eq!(refused.source.check(refused.folder.path()).len(), 1);
    drop(strict);
    refused.write("secret", SECRET.as_bytes());
    let told = refused.failure().await;
    assert!(told.message.starts_with("till.orders: s3://shop/orders/*.csv cannot be read: "), "{told:?}");
}

#[tokio::test]
async fn only_new_and_changed_objects_are_read() {
    let Some(moto) = Moto::start(false).await else { return };
    moto.put("o/a.csv", b"id,name\n1,Ada\n").await;
    moto.put("o/b.csv", b"id,name\n2,Bob\n").await;
    let stream = "path = \"s3://shop/o/*.csv\"\nmode = \"merge\"\nnew_files_only = true";
    let project = Project::new(&settings(&moto.settings(), stream)).await;
    assert_eq!(project.pull().await.requests, 2);
    let quiet = project.pull().await;
    assert_eq!((quiet.rows, quiet.requests), (0, 0));
    moto.put("o/b.csv", b"id,name\n2,Bea\n").await;
    moto.put("o/c.csv", b"id,name\n3,Cem\n").await;
    moto.remove("o/a.csv").await;
    assert_eq!(project.pull().await.requests, 2);
    assert_eq!(project.names().await, named(&[("1", "Ada"), ("2", "Bea"), ("3", "Cem")]));
}

#[tokio::test]
async fn only_new_and_changed_files_are_read_and_a_failed_pull_forgets_none() {
    let stream = "path = \"in/*.csv\"\nmode = \"merge\"\nnew_files_only = true";
    let project = Project::new(&settings("", stream)).await;
    let told = project.failure().await;
    assert_eq!(told.message, "till.orders: there is no file `in/*.csv`", "nothing at all is no quiet day at first");
    assert_eq!((project.probe().await, project.source.check(project.folder.path())), (vec![], vec![]));
    project.write_earlier("in/a.csv", b"id,name\n1,Ada\n", 100);
    project.write_earlier("in/b.csv", b"id,name\n2,Bob\n", 100);
    assert_eq!(project.pull().await.rows, 2);
    assert_eq!(project.pull().await.rows, 0);
    project.write_earlier("in/b.csv", b"id,name\n2,Bea\n", 50);
    project.write_earlier("in/c.csv", b"id,name\n3\n", 50);
    assert!(project.failure().await.message.contains("line 2 of c.csv"));
    project.write_earlier("in/c.csv", b"id,name\n3,Cem\n", 50);
    assert_eq!(project.pull().await.rows, 2, "what the failed pull read comes again");
    assert_eq!(project.names().await, named(&[("1", "Ada"), ("2", "Bea"), ("3", "Cem")]));
    assert_eq!(project.pull_all(true).await.unwrap().rows, 3, "all of it where that is asked");

    // A file so new that it may still be written to comes again until it is still.
    project.write("in/d.csv", b"id,name\n4,Dan\n");
    assert_eq!((project.pull().await.rows, project.pull().await.rows), (1, 1));
    project.write_earlier("in/d.csv", b"id,name\n4,Dan\n", 100);
    assert_eq!((project.pull().await.rows, project.pull().await.rows), (1, 0));
    std::fs::remove_dir_all(project.folder.path().join("in")).unwrap();
    assert_eq!(project.pull().await.rows, 0, "files that were taken away leave a quiet day");
    assert_eq!(project.names().await.len(), 4);
}

/// A file over HTTP that breaks off half way the first time, and wants to know who asks.
async fn serve(breaks: u32) -> (String, Arc<AtomicU32>) {
    async fn file(State((asked, breaks)): State<(Arc<AtomicU32>, u32)>, headers: HeaderMap) -> Response {
        if headers.get(header::AUTHORIZATION).is_none_or(|token| token != format!("Bearer {SECRET}").as_str()) {
            return Response::builder().status(StatusCode::FORBIDDEN).body(Body::empty()).unwrap();
        }
        let nth = asked.fetch_add(1, Ordering::SeqCst);
        let body = match nth < breaks {
            true => Body::from_stream(futures::stream::unfold(0, |part| async move {
                match part {
                    0 => Some((Ok(bytes::Bytes::from("id,name\n1,A")), 1)),
                    // What was sent before is under way when it breaks off.
                    _ => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        Some((Err(std::io::Error::other("cut")), 2))
                    }
                }
            })),
            false => Body::from("id,name\n1,Ada\n"),
        };
        Response::builder().header(header::ETAG, "\"1\"").body(body).unwrap()
    }
    let asked = Arc::new(AtomicU32::new(0));
    let app = Router::new().route("/export", get(file)).with_state((Arc::clone(&asked), breaks));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), asked)
}

const TOKEN: &str = "[store]\ntoken = { file = \"secret\" }\n";

#[tokio::test]
async fn a_file_at_an_address_is_fetched_again_where_it_breaks_off() {
    let (address, asked) = serve(1).await;
    let stream = format!("path = \"{address}/export?day=s3cret\"\nformat = \"csv\"");
    let project = Project::new(&settings(TOKEN, &stream)).await;
    assert_eq!(project.pull().await.rows, 1);
    assert_eq!(project.names().await, named(&[("1", "Ada")]));
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    let (address, _) = serve(2).await;
    let stream = format!("path = \"{address}/export?day=s3cret\"\nformat = \"csv\"");
    let told = Project::new(&settings(TOKEN, &stream)).await.failure().await;
    assert_eq!(told.message, format!("till.orders: {address}/export broke off half way, 2 times in a row"));

    let stream = format!("path = \"{address}/none?day=s3cret\"\nformat = \"csv\"");
    let project = Project::new(&settings(TOKEN, &stream)).await;
    for told in [project.failure().await, project.probe().await.remove(0)] {
        assert_eq!(told.message, format!("till.orders: {address}/none is not there (404)"));
    }
    let stream = format!("path = \"{address}/export\"\nformat = \"csv\"");
    let told = Project::new(&settings("", &stream)).await.failure().await;
    assert_eq!(told.message, format!("till.orders: {address}/export answered 403"));
}

#[tokio::test]
async fn a_file_at_an_address_comes_again_when_its_stamp_changes() {
    let (address, asked) = serve(0).await;
    let stream = format!("path = \"{address}/export\"\nformat = \"csv\"\nmode = \"merge\"\nnew_files_only = true");
    let project = Project::new(&settings(TOKEN, &stream)).await;
    assert_eq!(project.probe().await, []);
    assert_eq!((project.pull().await.rows, project.pull().await.rows), (1, 0));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

/// Two cryptographic libraries are linked in, and a client that finds no default panics.
#[tokio::test]
async fn a_server_that_speaks_no_tls_is_an_error_and_no_panic() {
    let (address, _) = serve(0).await;
    let address = address.replace("http://", "https://");
    let told = Project::new(&settings("", &format!("path = \"{address}/a.csv\""))).await.failure().await;
    assert!(told.message.starts_with(&format!("till.orders: {address}/a.csv cannot be reached (")), "{told:?}");
    let store =
        format!("[store]\nendpoint = \"{address}\"\naccess_key_id = {{ file = \"id\" }}\nsecret_access_key = {{ file = \"secret\" }}\n");
    let told = Project::new(&settings(&store, "path = \"s3://shop/a.csv\"")).await.failure().await;
    assert!(told.message.starts_with("till.orders: s3://shop/a.csv cannot be read: "), "{told:?}");
}

#[tokio::test]
async fn a_json_document_gives_the_rows_of_its_list() {
    let project = Project::new(&settings("", "path = \"in/*.json*\"\nrows = \"data.items\"\nrow_number = \"place\"")).await;
    let long: Vec<_> = (0..20_000).map(|id| serde_json::json!({"id": id, "name": "Çelik"})).collect();
    let text = serde_json::json!({"next": null, "data": {"items": long}}).to_string();
    project.write("in/a.json.gz", &gz(&text));
    assert_eq!(project.pull().await.rows, 20_000);
    let rows = project.rows().await;
    assert_eq!(rows.column_by_name("place").unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(19_999), 20_000);
    std::fs::remove_file(project.folder.path().join("in/a.json.gz")).unwrap();
    project.write("in/a.json", b"{\"data\": {\"items\": [{\"id\": 1},\n{\"id\": [2]}, 3]}}");
    let told = project.failure().await;
    assert!(told.message.starts_with("till.orders: row at element 2 of a.json: `id`"), "{told:?}");
    project.write("in/a.json", b"{\"data\": {\"items\": [{\"id\": 1},\n{\"id\": }]}}");
    let told = project.failure().await;
    assert_eq!((told.line, told.message.as_str()), (Some(2), "till.orders: element 2 of the list is no JSON: expected value"));
    assert_eq!(project.rows().await.num_rows(), 20_000);
}

#[tokio::test]
async fn files_of_other_programs_are_read_as_they_are_written() {
    let cases: [(&str, &str, Vec<u8>); 5] = [
        ("a.csv", "encoding = \"windows-1252\"\ndelimiter = \";\"", b"id;name\n1;M\xfcller \x80\n".to_vec()),
        ("a.tsv", "", "id\tname\n1\tMüller €\n".into()),
        ("a.csv", "quote = \"'\"", "id,name\n1,'Müller €'\n".into()),
        (
            "a.csv",
            "encoding = \"utf-16\"\ndelimiter = \"\\t\"",
            "\u{feff}id\tname\r\n1\tMüller €\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        ("a.ndjson", "encoding = \"windows-1252\"", b"{\"id\": 1, \"name\": \"M\xfcller \x80\"}".to_vec()),
    ];
    for (name, stream, bytes) in cases {
        let project = Project::new(&settings("", &format!("path = \"in/{name}\"\n{stream}"))).await;
        project.write(&format!("in/{name}"), &bytes);
        project.pull().await;
        assert_eq!(project.names().await, named(&[("1", "Müller €")]), "{name} {stream}");
    }
    let project = Project::new(&settings("", "path = \"in/a.csv\"\nquote = \"\"")).await;
    project.write("in/a.csv", b"id,name\n1,5\" nail\n2,6\"\n");
    project.pull().await;
    assert_eq!(project.names().await, named(&[("1", "5\" nail"), ("2", "6\"")]));
    let project = Project::new(&settings("", "path = \"in/a.csv\"\nencoding = \"utf-16\"")).await;
    project.write("in/a.csv", b"\x00\xdc");
    assert!(project.failure().await.message.contains("it holds bytes that its `encoding` does not know"));
}

#[test]
fn mistakes_in_the_settings_of_stores_are_told_with_their_line() {
    let told = |store: &str, stream: &str| {
        let error = Source::parse("till", Path::new("till.toml"), &settings(store, stream)).unwrap_err();
        (error.0.code, error.0.line.unwrap_or_default(), error.0.message)
    };
    let s3 = "path = \"s3://shop/*.csv\"";
    for (store, stream, line, words) in [
        ("", "path = \"ftp://shop/a.csv\"", 4, "files cannot be read from `ftp://`"),
        ("", "path = \"s3://shop\"", 4, "names no object"),
        ("", "path = \"https://h/export\"", 4, "does not say how the files are written"),
        ("", "path = \"a.csv\"\nrows = \"items\"", 5, "only in JSON documents"),
        ("", "path = \"a.csv\"\nquote = \"ab\"", 5, "is not one plain character"),
        ("", "path = \"a.csv\"\nnew_files_only = true", 5, "new files alone are not the whole table"),
        ("", "path = \"a.parquet\"\nencoding = \"utf-16\"", 5, "says itself"),
        ("[store]\nkey = { env = \"K\" }\n", s3, 4, "`key` is for az://"),
        ("[store]\naccess_key_id = { env = \"K\" }\n", s3, 4, "`secret_access_key` is not"),
        ("[store]\nendpoint = \"http://minio.example\"\n", s3, 4, "readable for everyone"),
        ("[store]\nendpoint = \"http://localhost:9000\"\n", s3, 4, "say `allow_http = true`"),
        ("[store]\nallow_http = true\n", s3, 4, "on this machine only"),
        ("[store]\ntoken = { env = \"T\" }\n", "path = \"http://files.example/a.csv\"", 4, "write `https://`"),
        ("[store]\nanonymous = true\nservice_account = { env = \"T\" }\n", "path = \"gs://shop/a.csv\"", 4, "says that none is used"),
    ] {
        let (code, at, message) = told(store, stream);
        assert_eq!((code.as_str(), at), ("bad_value", line), "{message}");
        assert!(message.contains(words), "{message}");
    }
    let (_, _, message) = told("[store]\nkey = \"s3cret\"\n", "path = \"az://shop/a.csv\"");
    assert!(!message.contains("s3cret"), "{message}");
}
