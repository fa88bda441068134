//! Hostile pictures: what is left of each shows something and does nothing.

use super::*;

const OPEN: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">"#;

fn wrapped(inside: &str) -> String {
    format!("{OPEN}<rect width=\"9\" height=\"9\" fill=\"#0e173e\"/>{inside}</svg>")
}

#[test]
fn a_drawing_keeps_its_shapes_colours_gradients_and_styles() {
    let drawing = wrapped(
        r##"<defs><linearGradient id="a"><stop offset="0" stop-color="#f1c613"/></linearGradient></defs>
        <style>.b { fill: #123456; stroke-width: 2 }</style><path class="b" d="M0 0L9 9z" fill="url(#a)"/>
        <use xlink:href="#a"/><text x="1" style="fill:red;font-size:3px">A &amp; B &#x41;</text>"##,
    );
    let kept = harmless(drawing.as_bytes()).unwrap();
    for part in [
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">"#,
        r##"stop-color="#f1c613""##,
        ".b { fill: #123456; stroke-width: 2 }",
        r##"fill="url(#a)""##,
        r##"<use href="#a">"##,
        "style=\"fill:red;font-size:3px\"",
        "A &amp; B A</text>",
    ] {
        assert!(kept.contains(part), "{part} is missing in {kept}");
    }
    assert_eq!(harmless(kept.as_bytes()).unwrap(), kept, "what is harmless stays as it is");
}

#[test]
fn nothing_that_runs_or_leads_elsewhere_is_left() {
    let hostile = [
        "<script>alert(1)</script>",
        "<script href=\"http://evil.example/x.js\"/>",
        "<script><![CDATA[alert(1)]]></script>",
        "<SCRIPT>alert(1)</SCRIPT>",
        "<svg:script xmlns:svg=\"http://www.w3.org/2000/svg\">alert(1)</svg:script>",
        "<path d=\"M0 0\" onload=\"alert(1)\"/>",
        "<path d=\"M0 0\" ONCLICK=\"alert(1)\"/>",
        "<g onmouseover=\"alert(1)\"><rect/></g>",
        "<foreignObject><body xmlns=\"http://www.w3.org/1999/xhtml\" onload=\"alert(1)\"/></foreignObject>",
        "<a href=\"javascript:alert(1)\"><text>evil</text></a>",
        "<a xlink:href=\"javascript:alert(1)\"><rect/></a>",
        "<use href=\"http://evil.example/x.svg#a\"/>",
        "<use xlink:href=\"data:image/svg+xml,evil\"/>",
        "<image href=\"http://evil.example/x.png\"/>",
        "<image xlink:href=\"file:///etc/passwd\"/>",
        "<feImage href=\"http://evil.example/\"/>",
        "<animate attributeName=\"href\" values=\"javascript:alert(1)\"/>",
        "<set attributeName=\"onmouseover\" to=\"alert(1)\"/>",
        "<iframe src=\"http://evil.example\"/>",
        "<style>@import url(http://evil.example/x.css);</style>",
        "<style>rect { fill: url(http://evil.example/) }</style>",
        "<style>rect { fill: u\\72l(http://evil.example/) }</style>",
        "<style>@font-face { font-family: x; src: url(//evil.example) }</style>",
        "<style><![CDATA[ </style><script>alert(1)</script> ]]></style>",
        "<style>a{}&lt;/style&gt;&lt;script&gt;alert(1)</style>",
        "<rect style=\"fill: url('http://evil.example/')\"/>",
        "<rect style=\"background: url(javascript:alert(1))\"/>",
        "<rect fill=\"url(http://evil.example/#a)\"/>",
        "<rect fill=\"u&#x72;l(http://evil.example/#a)\"/>",
        "<rect clip-path=\"url( 'https://evil.example#x' )\"/>",
        "<rect style=\"behavior: url(#default#evil)\"/>",
        "<?xml-stylesheet href=\"http://evil.example/x.css\"?>",
        "<handler type=\"application/ecmascript\">alert(1)</handler>",
        "<metadata><evil/></metadata>",
        "<g xml:base=\"http://evil.example/\"><rect/></g>",
        "<text>&lt;script&gt;alert(1)&lt;/script&gt;</text>",
    ];
    for inside in hostile {
        let kept = harmless(wrapped(inside).as_bytes()).unwrap_or_else(|why| panic!("{inside}: {why}"));
        let low = kept.to_ascii_lowercase();
        for sign in [
            "<script",
            "alert(1)\"",
            "onload",
            "onclick",
            "onmouse",
            "foreign",
            "javascript",
            "evil",
            "http:",
            "https:",
            "data:",
            "@import",
            "@font",
            "<a",
            "<image",
            "<animate",
            "<set",
            "iframe",
            "xlink",
            "xml:",
            "<?",
            "file:",
        ] {
            assert!(!low.replace(NAMESPACE, "").contains(sign), "{sign} is left of {inside}: {kept}");
        }
        assert!(kept.contains("<rect width=\"9\""), "{inside}: {kept}");
    }
}

#[test]
fn what_cannot_be_made_harmless_is_refused() {
    let entity = "<!DOCTYPE svg [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>";
    let laughs = "<!DOCTYPE svg [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]>";
    let deep = format!("{OPEN}{}{}</svg>", "<g>".repeat(100), "</g>".repeat(100));
    let many = format!("{OPEN}{}</svg>", "<rect/>".repeat(MOST_ELEMENTS + 1));
    let copies = wrapped(&"<use href=\"#a\"/>".repeat(MOST_COPIES + 1));
    for (text, why) in [
        (format!("{entity}{}", wrapped("<text>&x;</text>")), SvgError::Doctype),
        (format!("{laughs}{}", wrapped("<text>&b;</text>")), SvgError::Doctype),
        (wrapped("<text>&x;</text>"), SvgError::Entity),
        (wrapped("<rect id=\"&x;\"/>"), SvgError::Entity),
        (wrapped("<g>"), SvgError::NotXml),
        (wrapped("<rect x=\"1\" x=\"2\"/>"), SvgError::NotXml),
        (wrapped("\u{1}"), SvgError::NotXml),
        (format!("{}<rect/>", wrapped("")), SvgError::NotSvg),
        (format!("{} x", wrapped("")), SvgError::NotXml),
        ("<html><svg/></html>".into(), SvgError::NotSvg),
        ("<svg xmlns=\"http://www.w3.org/1999/xhtml\"><script/></svg>".into(), SvgError::NotSvg),
        (wrapped("<g xmlns=\"http://www.w3.org/1999/xhtml\"><rect/></g>"), SvgError::NotSvg),
        (format!("{OPEN}<script>alert(1)</script></svg>"), SvgError::Nothing),
        (deep, SvgError::TooMany),
        (many, SvgError::TooMany),
        (copies, SvgError::TooMany),
        (String::new(), SvgError::NotSvg),
        (" ".repeat(LONGEST + 1), SvgError::TooLong),
    ] {
        let shown: String = text.chars().take(200).collect();
        assert_eq!(harmless(text.as_bytes()), Err(why), "{shown}");
    }
    assert_eq!(harmless(b"<svg \xff/>"), Err(SvgError::NotText));
}
