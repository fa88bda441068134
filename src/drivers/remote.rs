//! Calls to a tenant's own API.
//!
//! A call goes to the address where the tenant's backend listens and nowhere else: no redirect
//! is followed, no name is resolved, no proxy is asked. What comes back is bounded in time and
//! size and must be a JSON object.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::probe::Target;

/// How long a call that only reads may take, all its attempts together.
pub const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long a call that makes a backup may take: a database of some GB is copied and synced.
pub const BACKUP_LIMIT: Duration = Duration::from_secs(120);
/// How often a call that only reads is made, when the connection breaks.
const READ_ATTEMPTS: u32 = 3;
/// The longest answer that is read, in bytes: a page of figures has a few hundred.
const LARGEST_ANSWER: usize = 256 * 1024;

/// What is asked of a tenant's backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET` of a path. Repeated when the connection breaks before an answer.
    Read(&'static str),
    /// `POST` to a path, which takes its time. Made once.
    Backup(&'static str),
}

impl Call {
    fn parts(self) -> (Method, &'static str, Duration, u32) {
        match self {
            Call::Read(path) => (Method::GET, path, READ_LIMIT, READ_ATTEMPTS),
            Call::Backup(path) => (Method::POST, path, BACKUP_LIMIT, 1),
        }
    }
}

/// Why there is no answer that could be passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Nobody accepts the connection, or it breaks before an answer.
    #[error("it does not answer: {0}")]
    Silent(String),
    /// No whole answer in time.
    #[error("it has not answered within {} s", .0.as_secs())]
    Late(Duration),
    /// Another status than success.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Longer than what is read.
    #[error("its answer is longer than {LARGEST_ANSWER} bytes")]
    TooLong,
    /// Not what was asked for.
    #[error("its answer is no JSON object")]
    NotAnObject,
}

/// Asks a backend, with its own credential when it has one.
///
/// # Errors
/// [`RemoteError`], after the last attempt.
pub async fn call(
    target: &Target,
    call: Call,
    token: Option<&str>,
) -> Result<Map<String, Value>, RemoteError> {
    let limit = call.parts().2;
    within(target, call, token, limit).await
}

async fn within(
    target: &Target,
    call: Call,
    token: Option<&str>,
    limit: Duration,
) -> Result<Map<String, Value>, RemoteError> {
    let (method, path, _, attempts) = call.parts();
    let (client, base) = client(target)?;
    let deadline = Instant::now() + limit;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut request = client.request(method.clone(), format!("{base}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = timeout_at(deadline, async { body(request.send().await.map_err(silent)?).await });
        match answer.await {
            Err(_) => return Err(RemoteError::Late(limit)),
            Ok(Err(RemoteError::Silent(_))) if attempt < attempts => {}
            Ok(answer) => return answer,
        }
    }
}

/// A client for one backend. No connection is kept: calls are seldom and processes change.
fn client(target: &Target) -> Result<(reqwest::Client, String), RemoteError> {
    let client = crate::tls::client().pool_max_idle_per_host(0);
    let (client, base) = match target {
        Target::Port(port) => (client, format!("http://127.0.0.1:{port}")),
        Target::Socket(path) => (client.unix_socket(path.as_path()), "http://localhost".to_owned()),
    };
    let client = client.build().map_err(|error| RemoteError::Silent(crate::error::chain(&error)))?;
    Ok((client, base))
}

fn silent(error: reqwest::Error) -> RemoteError {
    // Without the address, which would only repeat where the backend listens.
    RemoteError::Silent(crate::error::chain(&error.without_url()))
}

async fn body(mut response: Response) -> Result<Map<String, Value>, RemoteError> {
    let status = response.status();
    if !status.is_success() || status == StatusCode::NO_CONTENT {
        return Err(RemoteError::Status(status.as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(silent)? {
        if bytes.len() + piece.len() > LARGEST_ANSWER {
            return Err(RemoteError::TooLong);
        }
        bytes.extend_from_slice(&piece);
    }
    serde_json::from_slice(&bytes).map_err(|_| RemoteError::NotAnObject)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const READ: Call = Call::Read("/api/stats");

    /// A backend that gives these answers one after the other, the last one for ever. An empty
    /// one is a connection that is closed without a word.
    async fn backend(answers: &'static [&'static str]) -> (Target, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let call = calls.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 2048];
                let _ = stream.read(&mut request).await;
                let answer = answers.get(call).or(answers.last()).unwrap();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (Target::Port(port), count)
    }

    async fn asked(answers: &'static [&'static str]) -> Result<Map<String, Value>, RemoteError> {
        call(&backend(answers).await.0, READ, None).await
    }

    #[tokio::test]
    async fn passes_an_object_on() {
        let stats = asked(&["HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"persons\":7}"]).await.unwrap();
        assert_eq!(stats["persons"], 7);
    }

    #[tokio::test]
    async fn what_is_no_object_is_nonsense() {
        for nonsense in [
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n[1]",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<htm>",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (target, _) = backend(Box::leak(Box::new([nonsense]))).await;
            assert_eq!(call(&target, READ, None).await, Err(RemoteError::NotAnObject), "{nonsense}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_an_error_is_told_by_its_status() {
        let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(asked(Box::leak(Box::new([moved]))).await, Err(RemoteError::Status(302)));
        let failed = "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(asked(Box::leak(Box::new([failed]))).await, Err(RemoteError::Status(500)));
    }

    #[tokio::test]
    async fn a_broken_connection_is_tried_again_for_reads_alone() {
        const ANSWERS: &[&str] = &["", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}"];
        assert_eq!(asked(ANSWERS).await.unwrap()["a"], 1);
        let (target, calls) = backend(ANSWERS).await;
        let broken = call(&target, Call::Backup("/api/backup"), None).await;
        assert!(matches!(broken, Err(RemoteError::Silent(_))), "{broken:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_backend_that_is_not_there_is_silent_and_one_that_hangs_is_late() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::Port(listener.local_addr().unwrap().port());
        let limit = Duration::from_millis(50);
        assert_eq!(within(&target, READ, None, limit).await, Err(RemoteError::Late(limit)));
        drop(listener);
        assert!(matches!(call(&target, READ, None).await, Err(RemoteError::Silent(_))));
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::Port(listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'{'; 4096]).await.is_ok() {}
        });
        assert_eq!(call(&target, READ, None).await, Err(RemoteError::TooLong));
    }

    #[tokio::test]
    async fn a_socket_is_asked_with_the_tenants_own_credential() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backend.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 2048];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        call(&Target::Socket(path), READ, Some("s3cret")).await.unwrap();
        let request = asked.await.unwrap().to_lowercase();
        assert!(request.contains("authorization: bearer s3cret"), "{request}");
    }
}
