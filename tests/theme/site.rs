//! Websites on loopback, as a customer might have one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

/// What was asked of a site: path, then user agent.
pub(crate) type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A website that runs.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Asked,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = dyn Fn(&str) -> Option<Response> + Send + Sync;

impl Site {
    /// One that answers each path as it is told; 404 where it is told nothing.
    pub(crate) async fn start(answer: impl Fn(&str) -> Option<Response> + Send + Sync + 'static) -> Site {
        Site::held(answer, watch::channel(true).1).await
    }

    /// One that holds its answers back until it is told to give them.
    pub(crate) async fn held(
        answer: impl Fn(&str) -> Option<Response> + Send + Sync + 'static,
        open: watch::Receiver<bool>,
    ) -> Site {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let shared: (Asked, Arc<Answer>, watch::Receiver<bool>) =
            (Arc::clone(&asked), Arc::new(answer), open);
        let router = Router::new().fallback(serve).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Site { address, asked, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| asked == path).count()
    }
}

async fn serve(
    State((asked, answer, mut open)): State<(Asked, Arc<Answer>, watch::Receiver<bool>)>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let agent =
        request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    asked.lock().unwrap().push((path.clone(), agent.to_owned()));
    // Whoever opens it may be gone after that.
    let _ = open.wait_for(|open| *open).await.map(drop);
    answer(&path).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

pub(crate) fn html(text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text.into()).into_response()
}

pub(crate) fn redirect(to: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to.to_owned())]).into_response()
}

/// A campaign's page with a style sheet.
pub(crate) fn gallrein(path: &str) -> Option<Response> {
    match path {
        "/" => Some(html(
            "<!doctype html><title>Ed Gallrein</title><link rel=stylesheet href=/main.css><header><h1>Ed Gallrein \
             for State Rep</h1></header><main><p>Neighbors first.</p><a class=button>Donate</a> <a class=button>Join</a></main>",
        )),
        "/main.css" => {
            let css = "body{margin:0;background:#f8fafc;color:#1f2937} header{background:#0e173e;color:#fff;padding:200px} \
                       .button{background:#f1c613;padding:40px}";
            Some(([(header::CONTENT_TYPE, "text/css")], css).into_response())
        }
        _ => None,
    }
}

/// Somebody who must not be reached: counts connections.
pub(crate) struct Private {
    pub(crate) address: SocketAddr,
    count: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Private {
    pub(crate) async fn start() -> Private {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let task = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Private { address, count, task }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.task.abort();
    }
}
