//! A night of the practice shop whose lake lies in a bucket.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{Folder, skip};

/// A server that speaks S3, with one bucket; gone with the test.
struct Moto {
    child: Child,
    address: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    fn start() -> Option<Self> {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        let python = home.join(".cache/perennial/moto/bin/python");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if !python.exists() {
            return None;
        }
        // With the bucket from the start: nobody here speaks S3 but the program itself.
        let script = "import sys, boto3, time; from moto.server import ThreadedMotoServer\n\
             server = ThreadedMotoServer(ip_address='127.0.0.1', port=int(sys.argv[1])); server.start()\n\
             boto3.client('s3', endpoint_url='http://127.0.0.1:' + sys.argv[1], region_name='us-east-1',\n\
             aws_access_key_id='x', aws_secret_access_key='x').create_bucket(Bucket='shop')\n\
             open(sys.argv[2], 'w').close(); time.sleep(3600)";
        let ready = tempfile::tempdir().unwrap();
        let mark = ready.path().join("ready");
        let mut command = Command::new(python);
        command.args(["-c", script, &port.to_string()]).arg(&mark);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { child, address: format!("127.0.0.1:{port}") };
        for _ in 0..600 {
            if mark.exists() && TcpStream::connect(&moto.address).is_ok() {
                return Some(moto);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("moto did not come up");
    }

    fn lake_of(&self, folder: &mut Folder) {
        folder.set("PERENNIAL__LAKE__PATH", "s3://shop/lakes/practice");
        folder.set("PERENNIAL__LAKE__STORE__ENDPOINT", format!("http://{}", self.address));
        folder.set("PERENNIAL__LAKE__STORE__ALLOW_HTTP", "true");
        folder.set("PERENNIAL__LAKE__STORE__ACCESS_KEY_ID__ENV", "SHOP_S3_ID");
        folder.set("PERENNIAL__LAKE__STORE__SECRET_ACCESS_KEY__ENV", "SHOP_S3_KEY");
        folder.set("SHOP_S3_ID", "AKIATHATSME");
        folder.set("SHOP_S3_KEY", "wJalrXUtnFEMI");
    }
}

#[test]
fn a_night_on_a_lake_in_a_bucket_is_as_one_on_a_disk() {
    let Some(moto) = Moto::start() else { return skip("moto is not installed (`.ci/run` puts it into ~/.cache/perennial/moto)") };
    let sql = "select count(*) as n, sum(total_base) as total from orders";
    let night = |far: bool| {
        let mut folder = Folder::practice(300);
        if far {
            moto.lake_of(&mut folder);
            folder.run(&["check"]).ended(0);
        }
        assert_eq!(folder.json(&["run", "nightly"])["status"], "done");
        let orders = folder.json(&["query", sql]);
        folder.run(&["tidy"]).ended(0);
        assert_eq!(folder.json(&["query", sql]), orders, "tidy takes away nothing that is asked for");
        // Once more, on tables that are there.
        folder.json(&["pull"]);
        folder.json(&["build"]);
        assert_eq!(folder.path("data/lake").exists(), !far);
        orders
    };
    let (near, far) = (night(false), night(true));
    assert!(near[0]["n"].as_u64().unwrap() > 300, "{near}");
    assert_eq!(near, far);
}

#[test]
fn a_lake_in_a_bucket_that_is_not_there_is_found_by_check() {
    let mut folder = Folder::practice(50);
    folder.set("PERENNIAL__LAKE__PATH", "s3://shop/lake");
    folder.set("PERENNIAL__LAKE__STORE__ACCESS_KEY_ID__ENV", "SHOP_S3_ID_UNSET");
    folder.set("PERENNIAL__LAKE__STORE__SECRET_ACCESS_KEY__ENV", "SHOP_S3_KEY_UNSET");
    let told = folder.run(&["check", "--format", "json"]).ended(2).json();
    assert_eq!(told["findings"][0]["code"], "secret", "{told}");
    let told = folder.run(&["pull", "--format", "json"]).ended(2).json();
    assert_eq!(told["error"]["code"], "secret", "{told}");
}
