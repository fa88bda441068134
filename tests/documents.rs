//! Every example that document 2 prints, run from the document's own text: the `curl` lines by
//! curl, the WebSocket messages as they stand there. The answers must have the printed status
//! and every printed field, each with the printed type.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use std::process::Command;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use support::app::{Home, PATIENCE, TestApp, fixture};
use tokio_tungstenite::tungstenite::Message;

const DOCUMENT: &str = include_str!("documents/instances-api.md");

/// A fenced block with the heading that it stands under.
struct Block {
    heading: &'static str,
    language: &'static str,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut heading = "";
    let mut open: Option<Block> = None;
    for line in DOCUMENT.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some(Block { heading, language, text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text.push_str(&format!("{line}\n")),
            (None, None) => {
                heading = line.strip_prefix("### ").or(line.strip_prefix("## ")).unwrap_or(heading)
            }
        }
    }
    blocks
}

/// One answer that is printed: its status and its body, when that is JSON.
struct Printed {
    status: u16,
    body: Option<Value>,
}

/// The answers of a block: `Response: 200 OK` and what follows, `Or: 400 Bad Request` too.
fn printed(text: &str) -> Vec<Printed> {
    let mut answers: Vec<(u16, String)> = Vec::new();
    for line in text.lines() {
        let begins = ["Response: ", "Or: "].iter().find_map(|word| line.strip_prefix(word));
        if let Some(rest) = begins {
            answers.push((rest[..3].parse().unwrap(), String::new()));
        } else if line.starts_with("Response includes:") {
            answers.push((200, String::new()));
        } else if let Some((_, body)) = answers.last_mut() {
            body.push_str(&format!("{line}\n"));
        }
    }
    answers.into_iter().map(|(status, body)| Printed { status, body: example(&body) }).collect()
}

/// Printed JSON with its ellipses taken out.
fn example(text: &str) -> Option<Value> {
    let text = text.replace("[...]", "[]");
    let lines: Vec<&str> = text.lines().filter(|line| line.trim() != "...").collect();
    let whole = lines.join("\n");
    // A comma that an ellipsis followed.
    let mut json = String::new();
    let mut rest = whole.as_str();
    while let Some((before, after)) = rest.split_once(',') {
        json.push_str(before);
        if !after.trim_start().starts_with(['}', ']']) {
            json.push(',');
        }
        rest = after;
    }
    json.push_str(rest);
    serde_json::from_str(json.trim()).ok()
}

/// What is printed and lacks in an answer, or has another type or a name that differs.
fn lacks(printed: &Value, answer: &Value, place: &str) -> Vec<String> {
    /// Their printed values are meant literally.
    const LITERAL: [&str; 8] = ["status", "instance", "service", "id", "health", "error", "valid", "level"];
    match (printed, answer) {
        (Value::Object(printed), Value::Object(answer)) => printed
            .iter()
            .flat_map(|(name, value)| match answer.get(name) {
                None => vec![format!("{place}.{name} is missing")],
                Some(found) if LITERAL.contains(&name.as_str()) && !value.is_object() && value != "..." => {
                    let differs = value != found;
                    differs.then(|| format!("{place}.{name} is {found}, not {value}")).into_iter().collect()
                }
                Some(found) => lacks(value, found, &format!("{place}.{name}")),
            })
            .collect(),
        (Value::Array(printed), Value::Array(answer)) => match (printed.first(), answer.first()) {
            (None, _) => Vec::new(),
            (Some(_), None) => vec![format!("{place} is empty")],
            (Some(printed), Some(answer)) => lacks(printed, answer, &format!("{place}[0]")),
        },
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => Vec::new(),
        _ => vec![format!("{place} is {answer}, printed is {printed}")],
    }
}

/// The document's configuration, with a service that is there.
fn service() -> String {
    format!(
        "[service.printed]\ncommand = \"python3\"\nargs = [\"{}\"]\nsocket = \"{{data_dir}}/{{id}}.sock\"\nhealth = \"/health\"\n",
        fixture("printed.py").display()
    )
}

/// A home whose service `api` is the one of the document: on a unix socket.
fn home() -> std::sync::Arc<Home> {
    let home = Home::with(&service());
    let config = home
        .config()
        .replace("[service.api]", "[service.http]")
        .replace("[service.printed]", "[service.api]");
    // The document's own limits.
    let others = |line: &&str| !line.starts_with("rate_limit_");
    let config = config.lines().filter(others).collect::<Vec<_>>().join("\n");
    std::fs::write(home.config_file(), &config).unwrap();
    std::fs::write(home.path().join("tenement.toml"), &config).unwrap();
    home
}

struct Shell<'a> {
    app: &'a TestApp,
    token_id: String,
}

impl Shell<'_> {
    /// Runs a printed command; gives status and body.
    fn run(&self, command: &str) -> (u16, String) {
        let command = command
            .replace("http://localhost:8000", &self.app.instances)
            .replace("YOUR_TOKEN", &self.app.token)
            .replace("Bearer TOKEN", &format!("Bearer {}", self.app.token))
            .replace("token-id", &self.token_id);
        let home = self.app.home().path();
        std::fs::write(home.join(".curlrc"), "silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n")
            .unwrap();
        let output = Command::new("bash")
            .arg("-c")
            .arg(&command)
            .env("HOME", home)
            .current_dir(home)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

/// The command of a block: from `curl` to the line that is not continued.
fn command(text: &str) -> String {
    let mut command = String::new();
    let mut in_quotes = false;
    for line in text.lines() {
        command.push_str(&format!("{line}\n"));
        in_quotes ^= line.matches('\'').count() % 2 == 1;
        if !in_quotes && !line.ends_with('\\') {
            break;
        }
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn every_printed_curl_line_is_answered_as_printed() {
    let app = TestApp::in_home(home()).await;
    let body = serde_json::json!({"name": "to revoke", "expires_in_days": 1});
    let created = app.send(app.instances_request("POST", "/api/tokens").json(&body)).await.expect(201);
    let token = created["token"].as_str().unwrap();
    let used = app.client.get(format!("{}/api/instances", app.instances)).bearer_auth(token);
    app.send(used).await.expect(200);
    let listed = app.send(app.instances_request("GET", "/api/tokens")).await.expect(200);
    let token_id = listed["tokens"][0]["id"].as_str().unwrap().to_owned();
    let shell = Shell { app: &app, token_id };
    let mut spawn = None;
    let mut wrong = Vec::new();
    let mut run = 0;
    for block in blocks().iter().filter(|block| block.text.starts_with("curl")) {
        let command = command(&block.text);
        if block.heading.starts_with("POST /api/instances") && spawn.is_none() {
            spawn = Some(command.clone());
        }
        if block.heading == "POST /api/logs/search" {
            found(&app).await;
        }
        let (status, body) = shell.run(&command);
        run += 1;
        // Without a printed answer, a success is meant. "Or" prints what else may come.
        let printed = printed(&block.text).into_iter().next().unwrap_or(Printed { status: 200, body: None });
        if status != printed.status {
            wrong.push(format!("{}: {status} {body}, printed is {}", block.heading, printed.status));
            continue;
        }
        if let Some(printed) = printed.body {
            let answer = serde_json::from_str(&body).unwrap_or(Value::String(body));
            wrong.extend(lacks(&printed, &answer, block.heading));
        }
        if block.heading.starts_with("DELETE /api/instances") {
            // What follows in the document speaks of an instance that runs.
            assert_eq!(shell.run(spawn.as_ref().unwrap()).0, 201);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(run >= 16, "only {run} commands were found in the document");
}

/// Waits until the example's line can be found.
async fn found(app: &TestApp) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let search = app.instances_request("POST", "/api/logs/search");
        let answer = app.send(search.json(&serde_json::json!({"query": "database error"}))).await;
        if answer.expect(200)["total"].as_u64() > Some(0) {
            return;
        }
        assert!(std::time::Instant::now() < end, "the line is never found");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn a_configuration_that_lacks_a_command_is_refused_as_printed() {
    let app = TestApp::in_home(home()).await;
    std::fs::write(app.home().path().join("tenement.toml"), "[service.api]\nhealth = \"/health\"\n").unwrap();
    let block = blocks().into_iter().find(|block| block.heading.contains("config/validate")).unwrap();
    let printed = printed(&block.text).pop().unwrap();
    let shell = Shell { app: &app, token_id: String::new() };
    let (status, body) = shell.run(&command(&block.text));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, printed.status);
    let wanted = printed.body.unwrap();
    assert_eq!(lacks(&wanted, &body, "$"), Vec::<String>::new());
    let wanted = wanted["errors"][0].as_str().unwrap();
    assert!(
        body["errors"].as_array().unwrap().iter().any(|error| error.as_str().unwrap().contains(wanted)),
        "{body}"
    );
}

#[tokio::test]
async fn an_error_has_the_printed_fields() {
    let app = TestApp::in_home(home()).await;
    let block = blocks().into_iter().find(|block| block.heading == "Error Responses").unwrap();
    let printed = example(&block.text).unwrap();
    let answer = app.send(app.instances_request("GET", "/api/instances/api/user123")).await;
    assert_eq!(lacks(&printed, &answer.expect(404), "$"), Vec::<String>::new());
}

#[tokio::test]
async fn answers_carry_the_printed_headers_of_the_rate_limit() {
    let app = TestApp::in_home(home()).await;
    let block = blocks().into_iter().find(|block| block.heading == "Rate Limiting").unwrap();
    let answer = app.send(app.instances_request("GET", "/api/instances")).await;
    let mut names = 0;
    for line in block.text.lines() {
        let (name, _) = line.split_once(": ").unwrap();
        let value = answer.headers.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        value.to_str().unwrap().parse::<u64>().unwrap_or_else(|_| panic!("{name} is {value:?}"));
        names += 1;
    }
    assert_eq!(names, 3);
    assert_eq!(answer.headers["x-ratelimit-limit"], "1000");
}

/// The messages that the printed script sends, in order.
fn messages(script: &str, token: &str) -> Vec<Value> {
    script
        .split("JSON.stringify({")
        .skip(1)
        .map(|rest| {
            let (body, _) = rest.split_once("})").unwrap();
            body.split(',')
                .map(|field| {
                    let (name, value) = field.split_once(':').unwrap();
                    let value = value.trim().trim_matches('"');
                    let value = if value == "token" { token } else { value };
                    (name.trim().to_owned(), Value::String(value.to_owned()))
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
        .collect()
}

#[tokio::test]
async fn the_printed_script_gets_the_lines_that_it_asks_for() {
    let app = TestApp::in_home(home()).await;
    let block = blocks().into_iter().find(|block| block.language == "javascript").unwrap();
    let address = format!("{}/api/logs/stream", app.instances.replace("http://", "ws://"));
    let (mut socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
    let sent = messages(&block.text, &app.token);
    assert_eq!(sent.len(), 2, "the script authenticates and filters");
    for message in sent {
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    let body = serde_json::json!({"service": "api", "id": "user123"});
    app.send(app.instances_request("POST", "/api/instances").json(&body)).await.expect(201);
    let line = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a line").unwrap().unwrap();
    let line: Value = serde_json::from_str(line.to_text().unwrap()).unwrap();
    assert_eq!(line["instance"], "api:user123");
    assert_eq!(line["level"], "error", "the filter was not kept: {line}");
    assert_eq!(line["message"], "ERROR database error connecting to pg");
}
