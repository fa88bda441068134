//! `/docs`: the document as a page, by Swagger UI, which comes with the crate
//! `utoipa-swagger-ui-vendored`. The page loads nothing from anywhere else, and its policy
//! forbids a browser to.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

use super::archive;
use super::sent::Sent;
use crate::http::dispatch::Params;
use crate::http::error::ApiError;

/// Scripts and styles of ours alone; Swagger UI's style sheet holds its icons as `data:`, and
/// the page asks this server for the document and for what somebody tries out.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tenantry API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
"#;

/// `validatorUrl` would have the document judged by a foreign server.
const START: &str = "window.ui = SwaggerUIBundle({
  url: '/openapi.json', dom_id: '#docs', validatorUrl: null, deepLinking: true,
  docExpansion: 'list', defaultModelsExpandDepth: 0, displayRequestDuration: true, filter: true,
});
";

/// The files of the page. Of a name that nothing has, none is there.
static FILES: LazyLock<[(&str, Option<Sent>); 3]> = LazyLock::new(|| {
    let vendored = |name: &str, media_type| {
        let found = archive::gzip(SWAGGER_UI_VENDORED, &format!("/dist/{name}"));
        found.map(|gzip| Sent::compressed(media_type, gzip))
    };
    let script = "text/javascript; charset=utf-8";
    [
        ("swagger-ui.css", vendored("swagger-ui.css", "text/css; charset=utf-8")),
        ("swagger-ui-bundle.js", vendored("swagger-ui-bundle.js", script)),
        ("start.js", Some(Sent::new(script, START.into()))),
    ]
});

/// `GET /docs`
pub(in crate::http) async fn page() -> Response {
    let policy = HeaderValue::from_static(POLICY);
    (
        [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, policy),
        ],
        PAGE,
    )
        .into_response()
}

/// `GET /docs/{file}`
pub(in crate::http) async fn file(params: Params, headers: HeaderMap) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(known, _)| *known == params.at(0)).and_then(|(_, file)| file.as_ref());
    let missing = || ApiError::not_found("not_found", "The documentation has no such file.");
    Ok(found.ok_or_else(missing)?.answer(&headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_there_and_unpacks() {
        for (name, file) in &*FILES {
            let content = file.as_ref().unwrap_or_else(|| panic!("{name} is not there")).plain();
            assert!(PAGE.contains(&format!("\"/docs/{name}\"")));
            assert!(content.len() > 100, "{name}: {} bytes", content.len());
        }
        let bundle = FILES[1].1.as_ref().unwrap().plain();
        assert!(bundle.len() > 1_000_000 && String::from_utf8(bundle).unwrap().contains("SwaggerUIBundle"));
    }

    #[test]
    fn the_page_names_no_other_place() {
        for text in [PAGE, START, POLICY] {
            assert!(!text.contains("//"), "{text}");
        }
        let css = String::from_utf8(FILES[0].1.as_ref().unwrap().plain()).unwrap();
        assert!(!css.contains("@import") && !css.contains("url(http") && !css.contains("url(//"));
    }
}
