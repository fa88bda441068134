//! Users: who may log in, what they may do, and that whoever is kept out is out at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;

use api::{Answer, Api, PASSWORD, PATIENCE, request};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

async fn create(api: &Api, name: &str, role: &str, tenants: Value) -> String {
    let body = json!({"username": name, "password": PASSWORD, "email": format!("{name}@example.com"),
        "role": role, "tenant_ids": tenants});
    api.post("/api/users", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn change(api: &Api, id: &str, body: Value) -> Answer {
    api.put(&format!("/api/users/{id}"), body).await
}

async fn log_in(api: &Api, name: &str, password: &str) -> Answer {
    api.send(request("POST", "/api/auth/login").json(&json!({"username": name, "password": password}))).await
}

async fn id_of(api: &Api, name: &str) -> String {
    api.handle.world().access.user_by_name(name).unwrap().id.to_string()
}

#[tokio::test]
async fn a_user_is_created_shown_changed_and_deleted() {
    let api = Api::start().await;
    let created = api
        .post(
            "/api/users",
            json!({"username": "tom", "password": PASSWORD, "email": "t@h.example", "role": "viewer"}),
        )
        .await;
    let body = created.expect(201);
    let id = body["id"].as_str().unwrap();
    assert_eq!(created.header("location"), Some(format!("/api/users/{id}").as_str()));
    assert_eq!(
        (&body["username"], &body["email"], &body["role"]),
        (&json!("tom"), &json!("t@h.example"), &json!("viewer"))
    );
    assert_eq!((&body["disabled"], &body["tenant_ids"]), (&json!(false), &Value::Null));
    let shown = api.get(&format!("/api/users/{id}")).await;
    assert_eq!(shown.expect(200), body);
    let listed = api.get("/api/users").await.expect(200);
    assert_eq!(listed["total"], 4);
    assert!(listed["users"].as_array().unwrap().contains(&body));

    let tag = shown.header("etag").unwrap().to_owned();
    let changed = change(&api, id, json!({"email": "tom@h.example", "role": "operator"})).await.expect(200);
    assert_eq!((&changed["email"], &changed["role"]), (&json!("tom@h.example"), &json!("operator")));
    let write = request("PUT", &format!("/api/users/{id}")).bearer(&api.admin).header("if-match", &tag);
    api.send(write.json(&json!({"role": "admin"}))).await.expect(412);
    for bad in [
        json!({"username": "x"}),
        json!({"role": "king"}),
        json!({"email": "nobody"}),
        json!({"tenant_ids": []}),
        json!({"tenant_ids": ["01a08b3c-0000-7000-8000-000000000000"]}),
        json!({"password": "another one"}),
    ] {
        change(&api, id, bad.clone()).await.expect(400);
    }
    for bad in [
        json!({"username": "x", "password": "short", "email": "a@h", "role": "viewer"}),
        json!({"username": "x\n", "password": PASSWORD, "email": "a@h", "role": "viewer"}),
        json!({"username": "x", "password": PASSWORD, "email": "a@h"}),
    ] {
        api.post("/api/users", bad).await.expect(400);
    }
    let taken = json!({"username": "tom", "password": PASSWORD, "email": "a@h", "role": "viewer"});
    assert_eq!(api.post("/api/users", taken).await.expect(409)["code"], "USERNAME_TAKEN");

    log_in(&api, "tom", PASSWORD).await.expect(200);
    api.delete(&format!("/api/users/{id}")).await.expect(200);
    api.get(&format!("/api/users/{id}")).await.expect(404);
    log_in(&api, "tom", PASSWORD).await.expect(401);
    let again = create(&api, "tom", "viewer", Value::Null).await;
    assert_ne!(again, id, "the name is free, the id is not used again");
    // Nothing personal is told of whoever is gone, and nothing is stored in the clear.
    let events = api.get("/api/events?kind=user.&limit=1000").await;
    assert!(!events.text.contains("argon2"), "{}", events.text);
}

#[tokio::test]
async fn somebody_always_governs() {
    let api = Api::start().await;
    let admin = id_of(&api, "admin").await;
    let tenant = api.tenant("smith").await;
    let refused = |answer: Answer| assert_eq!(answer.expect(409)["code"], "LAST_ADMIN");
    for change_of in [json!({"disabled": true}), json!({"role": "operator"}), json!({"tenant_ids": [tenant]})]
    {
        refused(change(&api, &admin, change_of).await);
    }
    refused(api.delete(&format!("/api/users/{admin}")).await);
    // Neither one that is limited nor one that is kept out takes the place.
    let limited = create(&api, "lisa", "admin", json!([tenant])).await;
    let out = create(&api, "oscar", "admin", Value::Null).await;
    change(&api, &out, json!({"disabled": true})).await.expect(200);
    refused(change(&api, &admin, json!({"disabled": true})).await);
    change(&api, &limited, json!({"tenant_ids": null})).await.expect(200);
    change(&api, &admin, json!({"role": "viewer"})).await.expect(200);
    api.get("/api/users").await.expect(403);
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_their_logins_stay_void() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = create(&api, "tom", "operator", Value::Null).await;
    let login = log_in(&api, "tom", PASSWORD).await.expect(200)["access_token"].as_str().unwrap().to_owned();
    let ask = |token: &str| request("GET", "/api/tenants").bearer(token);
    api.send(ask(&login)).await.expect(200);
    let mut opened = format!("ws://{address}/ws/events").into_client_request().unwrap();
    opened.headers_mut().insert("authorization", format!("Bearer {login}").parse().unwrap());
    let mut socket = connect_async(opened).await.unwrap().0;

    change(&api, &id, json!({"disabled": true})).await.expect(200);
    api.send(ask(&login)).await.expect(401);
    let same = log_in(&api, "tom", PASSWORD).await.expect(401);
    assert_eq!(same["code"], "INVALID_CREDENTIALS", "nobody learns that the password was right");
    let closed = async {
        loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                return u16::from(frame.unwrap().code);
            }
        }
    };
    assert_eq!(timeout(PATIENCE, closed).await.expect("closes"), 4401);

    change(&api, &id, json!({"disabled": false})).await.expect(200);
    api.send(ask(&login)).await.expect(401);
    let fresh = log_in(&api, "tom", PASSWORD).await.expect(200)["access_token"].as_str().unwrap().to_owned();
    api.send(ask(&fresh)).await.expect(200);
    // A lower role counts at once, too.
    change(&api, &id, json!({"role": "viewer"})).await.expect(200);
    api.send(request("POST", "/api/tenants").bearer(&fresh).json(&json!({}))).await.expect(403);
}

#[tokio::test]
async fn one_changes_ones_own_password_with_the_old_one_and_an_admin_anybodys_without() {
    let api = Api::start().await;
    let id = id_of(&api, "victor").await;
    let victor = api.login("victor").await;
    let path = format!("/api/users/{id}/password");
    let own = |token: &str, body: Value| request("PUT", &path).bearer(token).json(&body);
    let missing = api.send(own(&victor, json!({"password": "battery staple"}))).await.expect(400);
    assert!(missing["error"].as_str().unwrap().contains("current_password"));
    let wrong = json!({"password": "battery staple", "current_password": "guess"});
    assert_eq!(api.send(own(&victor, wrong.clone())).await.expect(403)["code"], "WRONG_PASSWORD");
    api.send(own(&victor, json!({"password": "short", "current_password": PASSWORD}))).await.expect(400);
    let olga = api.login("olga").await;
    api.send(own(&olga, wrong.clone())).await.expect(403);

    let right = json!({"password": "battery staple", "current_password": PASSWORD});
    api.send(own(&victor, right)).await.expect(200);
    api.send(request("GET", "/api/tenants").bearer(&victor)).await.expect(401);
    log_in(&api, "victor", PASSWORD).await.expect(401);
    log_in(&api, "victor", "battery staple").await.expect(200);

    api.put(&path, json!({"password": "yet another one"})).await.expect(200);
    let login = log_in(&api, "victor", "yet another one").await.expect(200);
    // Whoever found an open session cannot guess for ever.
    let token = login["access_token"].as_str().unwrap();
    let mut limited = false;
    for _ in 0..12 {
        limited |= api.send(own(token, wrong.clone())).await.status == 429;
    }
    assert!(limited);
    let me = api.send(request("GET", "/api/users/me").bearer(token)).await.expect(200);
    assert_eq!(me["username"], "victor");
    api.send(request("GET", &format!("/api/users/{id}")).bearer(token)).await.expect(200);
    let other = id_of(&api, "olga").await;
    api.send(request("GET", &format!("/api/users/{other}")).bearer(token)).await.expect(403);
    api.send(request("PUT", &format!("/api/users/{id}")).bearer(token).json(&json!({"role": "admin"})))
        .await
        .expect(403);
}

#[tokio::test]
async fn a_user_who_is_limited_to_tenants_reaches_those_and_no_others() {
    let api = Api::start().await;
    let mut tenants = Vec::new();
    for slug in ["smith", "jones", "brown"] {
        tenants.push(api.tenant(slug).await);
    }
    for tenant in &tenants {
        api.deployed(tenant).await;
    }
    create(&api, "tom", "operator", json!([tenants[0], tenants[1]])).await;
    let tom = api.login("tom").await;
    let get = async |path: String| api.send(request("GET", &path).bearer(&tom)).await;
    let listed = get("/api/tenants".into()).await.expect(200);
    assert_eq!(listed["total"], 2);
    for (tenant, status) in tenants.iter().zip([200, 200, 404]) {
        get(format!("/api/tenants/{tenant}/config")).await.expect(status);
        let stop = request("POST", &format!("/api/tenants/{tenant}/stop")).bearer(&tom);
        api.send(stop).await.expect(status);
    }
    let events = get("/api/events?limit=1000".into()).await;
    events.expect(200);
    assert!(events.text.contains(&tenants[1]) && !events.text.contains(&tenants[2]));
    let instances = get("/api/instances".into()).await;
    assert!(instances.text.contains("backend:jones") && !instances.text.contains("backend:brown"));
    api.send(request("POST", "/api/tenants").bearer(&tom).json(&api::tenant_body("new"))).await.expect(403);
    api.send(request("POST", "/api/instances").bearer(&tom).json(&json!({"service": "api", "id": "x"})))
        .await
        .expect(403);
}
