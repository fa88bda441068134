//! Probes of small servers that answer well, badly, or not at all.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

/// A server that reads a request and answers with these bytes, then closes (or not).
async fn server(answer: &'static str, close: bool) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            if !close {
                held.push(stream);
            }
        }
    });
    Target::Port(port)
}

#[tokio::test]
async fn a_200_and_a_302_are_well() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"]
    {
        let report = http(&server(answer, true).await, "/health").await;
        assert!(report.up, "{report:?}");
    }
}

#[tokio::test]
async fn a_500_with_200_in_its_headers_is_not() {
    let answer = "HTTP/1.1 500 Oops 200\r\nContent-Length: 200\r\nX-Status: 200\r\n\r\n200";
    let report = http(&server(answer, false).await, "/health").await;
    assert!(!report.up);
    let answer = "HTTP/1.1 500 200 OK\r\nContent-Length: 3\r\n\r\n200";
    let report = http(&server(answer, true).await, "/health").await;
    assert_eq!((report.up, report.status_code, report.detail.as_str()), (false, Some(500), "HTTP 500"));
}

#[tokio::test]
async fn an_answer_that_is_cut_short_or_no_http_is_not() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
        "200 OK\r\n\r\n",
    ] {
        let report = http(&server(answer, true).await, "/health").await;
        assert!(!report.up, "{answer:?}: {report:?}");
    }
}

#[tokio::test]
async fn a_server_that_only_half_closes_is_well_when_it_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await.unwrap();
        stream.shutdown().await.unwrap();
        std::future::pending::<()>().await;
    });
    assert!(http(&Target::Port(port), "/").await.up);
}

#[tokio::test]
async fn one_that_never_answers_or_never_ends_is_given_up() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"] {
        let target = server(answer, false).await;
        let report = http_within(&target, "/", Duration::from_millis(200)).await;
        assert_eq!((report.up, report.detail.as_str()), (false, "no answer within 200ms"));
    }
}

#[tokio::test]
async fn an_endless_answer_is_judged_by_its_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
    });
    assert!(http(&Target::Port(port), "/").await.up);
}

#[tokio::test]
async fn nobody_there_is_told_in_words() {
    // Bound and not listening, so that nobody else can come to listen there.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let target = Target::Port(bound.local_addr().unwrap().port());
    for report in [http(&target, "/").await, connect(&target).await] {
        assert_eq!((report.up, report.detail.as_str()), (false, "connection refused"));
    }
    assert_eq!(connect(&Target::Socket("/no/such.sock".into())).await.detail, "no socket yet");
}

#[tokio::test]
async fn a_unix_socket_is_asked_the_same_way() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let target = Target::Socket(path);
    assert_eq!(http(&target, "/health").await.status_code, Some(204));
    assert!(connect(&target).await.up);
}
