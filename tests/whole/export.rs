//! Export and import through the program and over HTTP.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::tools::{head, note, run, said, text, verified};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_exported_and_imported_and_one_flipped_byte_is_refused_by_its_seq() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    note(&app, &tenant, "a personal note").await;
    let home = Arc::clone(app.home());
    let until = head(&app).await.to_string();
    for format in ["jsonl", "msgpack"] {
        let file = home.path().join(format!("journal.{format}"));
        let export = |output: &str, more: &[&str]| {
            let args = [
                "journal",
                "export",
                "--format",
                format,
                "-o",
                output,
                "--until",
                &until,
                "--data-dir",
                "data",
            ];
            run(&home, &[args.as_slice(), more].concat())
        };
        said(&export(text(&file), &[]), 0);
        let bytes = std::fs::read(&file).unwrap();
        assert!(memchr::memmem::find(&bytes, b"personal note").is_none(), "what is sealed stays sealed");

        // Over HTTP it is the same, without the keys.
        let bare = home.path().join("bare");
        said(&export(text(&bare), &["--without-keys"]), 0);
        let url = format!("/api/journal/export?format={format}&until={until}");
        let answer = app.request("GET", &url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.unwrap() == std::fs::read(&bare).unwrap(), "{format} over HTTP");

        let into = home.path().join(format!("from-{format}"));
        let import = |file: &str, into: &str, more: &[&str]| {
            run(&home, &[["journal", "import", file, "--into", into, "--json"].as_slice(), more].concat())
        };
        let key = ["--master-key", "data/master.key"];
        let told = said(&import(text(&file), text(&into), &key), 0);
        assert_eq!((told["events"].to_string(), &told["imported"]), (until.clone(), &json!(true)));
        assert_eq!(told["root"], verified(&home, &into)["root"]);
        let args = ["replay", "--until", &until, "--dump", "json", "--data-dir"];
        let of = |data: &str| said(&run(&home, &[args.as_slice(), &[data]].concat()), 0);
        assert_eq!(of(text(&into)), of("data"), "the same World");

        // Line 4 and the fourth entry are of the third event.
        let mut changed = bytes.clone();
        let at = match format {
            "jsonl" => {
                let line =
                    changed.split_inclusive(|byte| *byte == b'\n').take(3).map(<[u8]>::len).sum::<usize>();
                line + 300
            }
            _ => memchr::memmem::find_iter(&changed, b"\xa3seq").nth(2).unwrap() + 40,
        };
        changed[at] ^= 0x02;
        let broken = home.path().join("broken");
        std::fs::write(&broken, &changed).unwrap();
        let (nowhere, zeros) = (home.path().join("nowhere"), "0".repeat(64));
        let refused = said(&import(text(&broken), text(&nowhere), &key), 3);
        assert_eq!(
            (&refused["imported"], &refused["first_bad_seq"]),
            (&json!(false), &json!(3)),
            "{refused}"
        );
        assert!(!nowhere.exists() && !home.path().join("nowhere.partial").exists());
        let other = import(text(&file), text(&nowhere), &[&key[..], &["--root", zeros.as_str()]].concat());
        assert_eq!(other.status.code(), Some(1), "{other:?}");
        assert!(!nowhere.exists());
        let no_key = import(text(&file), text(&nowhere), &[]);
        assert_eq!(no_key.status.code(), Some(2), "{no_key:?}");

        // Without keys it can be verified and replayed, and tells nothing.
        let sealed = home.path().join(format!("sealed-{format}"));
        said(&import(text(&bare), text(&sealed), &["--without-keys"]), 0);
        assert_eq!(verified(&home, &sealed)["root"], told["root"]);
        let dump = said(&run(&home, &["replay", "--dump", "json", "--data-dir", text(&sealed)]), 0);
        assert_eq!(dump["tenants"][0]["slug"], "erased", "{dump}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_administrator_without_limits_gets_an_export() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let url = format!("{}/api/journal/export", app.manager);
    for body in [
        json!({"name": "t", "expires_in_days": 1, "role": "operator"}),
        json!({"name": "t", "expires_in_days": 1, "role": "admin", "tenant_id": tenant}),
    ] {
        let token = app.post("/api/tokens", body).await.expect(201);
        let credential = token["token"].as_str().unwrap();
        let answer = app.client.get(&url).bearer_auth(credential).send().await.unwrap();
        assert_eq!(answer.status(), 403);
    }
    assert_eq!(app.client.get(&url).send().await.unwrap().status(), 401);
    for (query, status) in
        [("?format=xml", 400), ("?until=999999", 400), ("?as_of=3", 400), ("?colour=red", 400)]
    {
        assert_eq!(app.get(&format!("/api/journal/export{query}")).await.status, status, "{query}");
    }
    let lines = app.get("/api/journal/export").await;
    let lines: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["kind"], "system.started");
    assert!(lines.last().unwrap()["keys"].as_array().unwrap().is_empty(), "no key goes over the wire");
}
