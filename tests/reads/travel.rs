//! `as_of` on every GET: it answers as it did then, or says that it has no past.

use serde_json::Value;
use tenantry::http::router::Shows;

use crate::{Everything, gets, lasting, with};

#[tokio::test]
async fn every_get_of_state_answers_as_it_did_then() {
    let all = Everything::start().await;
    let then = all.api.handle.world().seq;
    let mut before = Vec::new();
    for (route, _) in gets().into_iter().filter(|(_, shows)| *shows == Shows::State) {
        let path = all.path(&route);
        let answer = all.api.get(&path).await;
        before.push((path, answer));
    }
    assert_eq!(all.api.handle.world().seq, then, "reading records nothing");
    all.change().await;
    let mut changed = 0;
    let mut found = 0;
    for (path, before) in before {
        let now = all.api.get(&path).await;
        let past = all.api.get(&with(&path, &format!("as_of={then}"))).await;
        assert_eq!(past.status, before.status, "{path}: {} and {}", past.text, before.text);
        assert_eq!(past.header("x-as-of-seq"), Some(&*then.to_string()), "{path}");
        assert_eq!(before.header("x-as-of-seq"), None, "{path}");
        assert_eq!(past.header("etag"), before.header("etag"), "{path}");
        let [now, past, before] = [now, past, before]
            .map(|answer| lasting(serde_json::from_str(&answer.text).unwrap_or(Value::String(answer.text))));
        assert_eq!(past, before, "{path}");
        changed += u32::from(now != past);
        found += u32::from(past.get("error").is_none());
        for point in ["0", "999999", "gibberish", "2999-01-01T00:00:00Z", "1&as_of=2"] {
            all.api.get(&with(&path, &format!("as_of={point}"))).await.expect(400);
        }
        // A distance is a time, too; so long ago there was nothing.
        all.api.get(&with(&path, "as_of=5m%20ago")).await.expect(400);
    }
    // The rest shows what no change here touches, or nothing: files, analyses.
    assert!(found >= 22, "{found} were there");
    assert!(changed >= 16, "{changed} had become others");
}

#[tokio::test]
async fn every_get_of_something_else_says_that_it_has_no_past() {
    let all = Everything::start().await;
    let mut refused = 0;
    for (route, _) in gets().into_iter().filter(|(_, shows)| *shows != Shows::State) {
        let path = with(&all.path(&route), "as_of=1");
        for answer in [all.api.get(&path).await, {
            let asked = crate::api::request("GET", &path).bearer(&all.api.admin);
            all.api.send_instances(asked).await
        }] {
            let body = answer.expect(400);
            let code = body["code"].as_str().or(body["error"].as_str()).unwrap().to_lowercase();
            assert_eq!(code, "not_time_travelable", "{path}: {body}");
            assert_eq!(answer.header("x-as-of-seq"), None);
        }
        refused += 1;
    }
    assert!(refused >= 15, "{refused}");
}
