//! The dashboard: one page and its assets, out of the binary.
//!
//! It holds no data of anybody, so it needs no credential. The page lets itself run scripts and
//! styles of this origin alone, none inline, and no text ever becomes markup
//! (`require-trusted-types-for`). The sources stand beside this file, for Node; what `make
//! dashboard` makes of them is embedded by `build.rs`.

mod assets;
mod encoding;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::dispatch::Params;
use super::error::{ApiError, Family};
use super::openapi::Describe;
use super::router::{Access, Routes};
use assets::Asset;
use encoding::Accepted;

/// What the page may do. `'self'` in `connect-src` covers WebSockets of the same host, too.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
/// The name of such a file changes with its content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Kept, and asked about each time.
const ASK_AGAIN: &str = "no-cache";
/// What the page could ask the browser for, and does not.
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The page and what it loads.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Listener).get("/", Access::ANYONE, page).get(
        "/dashboard/assets/{name}",
        Access::ANYONE,
        asset,
    )
}

/// Says what they give, for `/openapi.json`.
pub(super) fn describe(all: &mut Describe) {
    all.get("/", "getPage", "The dashboard").gives(&["text/html"]).etag();
    all.get("/dashboard/assets/{name}", "getDashboardAsset", "A file of the dashboard")
        .gives(&["text/javascript", "text/css", "text/plain"])
        .etag();
}

async fn page(headers: HeaderMap) -> Result<Response, ApiError> {
    let page = assets::find("index.html").ok_or_else(ApiError::internal)?;
    let mut response = serve(page, &headers);
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

async fn asset(params: Params, headers: HeaderMap) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("not_found", "There is no such file.");
    let asset = assets::find(params.at(0)).filter(|asset| asset.name != "index.html").ok_or_else(missing)?;
    Ok(serve(asset, &headers))
}

fn serve(asset: &Asset, asked: &HeaderMap) -> Response {
    let caching = if asset.is_hashed() { FOR_EVER } else { ASK_AGAIN };
    let (bytes, encoding) = asset.form(Accepted::of(asked));
    let mut response = match asset.is_known_to(asked) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => bytes.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, asset.tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Method, Request};

    use super::assets;
    use crate::http::testing::{Answer, TestApi};

    /// The issue's: what the first load may take, compressed.
    const FIRST_LOAD: usize = 200 * 1000;

    async fn get(api: &TestApi, path: &str, more: &[(&str, &str)]) -> Answer {
        ask(api, Method::GET, path, more).await
    }

    async fn ask(api: &TestApi, method: Method, path: &str, more: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        api.send(request.body(Body::empty()).unwrap()).await
    }

    /// What the page names, in its own words.
    fn named(page: &str) -> Vec<&str> {
        let parts = page.split('"').filter(|part| part.starts_with("/dashboard/assets/"));
        parts.collect()
    }

    #[tokio::test]
    async fn the_page_comes_to_anybody_under_a_policy_without_anything_inline() {
        let api = TestApi::start().await;
        let page = get(&api, "/", &[]).await;
        assert_eq!((page.status, page.text.contains("Tenantry")), (200, true));
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert!(
            !page.text.contains("<style")
                && !page.text.contains(" style=")
                && !page.text.contains("<script>")
        );
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert_eq!(page.headers["cache-control"], "no-cache");
    }

    #[tokio::test]
    async fn what_the_page_names_is_there_with_its_type_and_hashed_names_are_kept_for_ever() {
        let api = TestApi::start().await;
        let page = get(&api, "/", &[]).await;
        let names = named(&page.text);
        assert!(names.iter().any(|name| name.ends_with(".css")), "{}", page.text);
        for name in names {
            let asset = get(&api, name, &[]).await;
            assert_eq!(asset.status, 200, "{name}");
            let kind = if name.ends_with(".js") { "text/javascript" } else { "text/css" };
            assert!(asset.headers["content-type"].to_str().unwrap().starts_with(kind), "{name}");
            let caching = asset.headers["cache-control"].to_str().unwrap();
            assert_eq!(caching.contains("immutable"), assets::IS_BUILT, "{name}: {caching}");
        }
    }

    #[tokio::test]
    async fn what_a_browser_has_is_not_sent_again() {
        let api = TestApi::start().await;
        let first = get(&api, "/", &[]).await;
        let tag = first.headers["etag"].to_str().unwrap();
        let second = get(&api, "/", &[("if-none-match", tag)]).await;
        assert_eq!((second.status, second.text.as_str()), (304, ""));
        assert_eq!(second.headers["etag"], first.headers["etag"]);
        assert_eq!(get(&api, "/", &[("if-none-match", "\"another\"")]).await.status, 200);
    }

    #[tokio::test]
    async fn unknown_files_are_not_found_whatever_they_are_called() {
        let api = TestApi::start().await;
        for path in [
            "/dashboard/assets/nothing.js",
            "/dashboard/assets/..%2findex.html",
            "/dashboard/assets/index.html",
        ] {
            assert_eq!(get(&api, path, &[]).await.status, 404, "{path}");
        }
    }

    #[tokio::test]
    async fn a_built_dashboard_is_sent_compressed_and_its_first_load_is_small() {
        if !assets::IS_BUILT {
            println!("SKIPPED: the dashboard is not built here; see `make dashboard`");
            return;
        }
        let api = TestApi::start().await;
        let page = get(&api, "/", &[]).await;
        let mut paths = named(&page.text);
        paths.push("/");
        for (accepted, encoding) in [("gzip, deflate, br", "br"), ("gzip", "gzip")] {
            let mut total = 0;
            for path in &paths {
                let file = ask(&api, Method::HEAD, path, &[("accept-encoding", accepted)]).await;
                let length = file.headers["content-length"].to_str().unwrap().parse::<usize>().unwrap();
                total += length;
                if *path != "/" {
                    assert_eq!(file.headers["content-encoding"], encoding, "{path}");
                }
                assert_eq!(file.headers["vary"], "accept-encoding");
            }
            assert!((1..FIRST_LOAD).contains(&total), "{encoding}: {total} bytes");
        }
    }
}
