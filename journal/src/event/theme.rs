//! A tenant's look, and what was found on a customer's website.
//!
//! Uploaded files and screenshots stand here as digests only; the files lie sealed beside the
//! journal. What tells of the customer (websites, names, reasons) is sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{AnalysisId, Seq, SuggestionId, TenantId};
use crate::sealed::Sealed;

/// What kind of picture a logo is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogoFormat {
    /// PNG.
    #[default]
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
    /// SVG, made harmless.
    Svg,
}

impl LogoFormat {
    /// All of them.
    pub const ALL: [LogoFormat; 4] = [LogoFormat::Png, LogoFormat::Jpeg, LogoFormat::WebP, LogoFormat::Svg];

    /// The end of a file's name.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            LogoFormat::Png => "png",
            LogoFormat::Jpeg => "jpg",
            LogoFormat::WebP => "webp",
            LogoFormat::Svg => "svg",
        }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            LogoFormat::Png => "image/png",
            LogoFormat::Jpeg => "image/jpeg",
            LogoFormat::WebP => "image/webp",
            LogoFormat::Svg => "image/svg+xml",
        }
    }
}

/// Who thought of a suggestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SuggestionSource {
    /// Claude, through the Anthropic API.
    Anthropic,
    /// A model of the tenant's Ollama.
    Ollama,
    /// No model: colour theory on the colours that were found.
    Palette,
}

/// Where the colours of a theme came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThemeOrigin {
    /// The analysis.
    pub analysis_id: AnalysisId,
    /// Its suggestion.
    pub suggestion_id: SuggestionId,
    /// The website that was looked at.
    pub website: String,
    /// Who thought of it.
    pub source: SuggestionSource,
}

/// The theme was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThemeUpdated {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Color fields of document 1 that were set, `#rrggbb`.
    pub colors: BTreeMap<String, String>,
    /// Logo fields of document 1 that were set: BLAKE3 of the uploaded file, hex.
    pub logos: BTreeMap<String, String>,
    /// What kinds of pictures those are; one that is not named is a PNG.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub formats: BTreeMap<String, LogoFormat>,
    /// Logo fields that were taken away, and colors that nobody has set any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleared: Vec<String>,
    /// Where the colors came from, when they were suggested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Sealed<ThemeOrigin>>,
}

/// The theme lies in the tenant's directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThemeApplied {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The event that made the theme what it is there.
    pub theme: Seq,
}

/// Somebody wants suggestions from a website.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalysisRequested {
    /// The new analysis.
    pub analysis_id: AnalysisId,
    /// For whom.
    pub tenant_id: TenantId,
    /// The address of the page.
    pub website: Sealed<String>,
    /// Whether a picture of it is wanted.
    pub capture_screenshot: bool,
}

/// The page is about to be fetched. Recorded again after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalysisStarted {
    /// The analysis.
    pub analysis_id: AnalysisId,
    /// The tenant.
    pub tenant_id: TenantId,
}

/// A look that is suggested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Its id.
    pub id: SuggestionId,
    /// What it is called.
    pub name: String,
    /// A sentence about it.
    pub description: String,
    /// `#rrggbb`, as all of them.
    pub primary_color: String,
    /// The second color.
    pub secondary_color: String,
    /// What stands out.
    pub accent_color: String,
    /// Text on a light background.
    pub text_color: String,
    /// Why it fits.
    pub reasoning: String,
}

/// A color that was found on the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Swatch {
    /// `#rrggbb`.
    pub color: String,
    /// Its share of all that was found, in thousandths.
    pub share: u16,
}

/// What an analysis came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalysisResult {
    /// Who thought of the suggestions.
    pub source: SuggestionSource,
    /// The model, when it was one.
    pub model: Option<String>,
    /// The suggestions, best first.
    pub suggestions: Vec<Suggestion>,
    /// The colors that were found, the most frequent first.
    pub palette: Vec<Swatch>,
    /// BLAKE3 of the picture of the page (a PNG), hex.
    pub screenshot: Option<String>,
    /// Sentences: what was left out, and why.
    pub notes: Vec<String>,
}

/// An analysis has its suggestions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalysisCompleted {
    /// The analysis.
    pub analysis_id: AnalysisId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// What it came to.
    pub result: Sealed<AnalysisResult>,
}

/// An analysis has none, and ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalysisFailed {
    /// The analysis.
    pub analysis_id: AnalysisId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// A sentence: why.
    pub reason: Sealed<String>,
}
