//! Where a webhook is received.

use std::borrow::Cow;
use std::str::FromStr;

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

const LONGEST: usize = 2048;

/// An `https` or `http` URL with a host, and with neither a login nor a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Uri);

/// A text that is no [`WebhookUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a URL of the form https://HOST/PATH, at most {LONGEST} characters, without a login and without #")]
pub struct WebhookUrlError;

impl WebhookUrl {
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        let uri: Uri = text.parse().map_err(|_| WebhookUrlError)?;
        let has_scheme = uri.scheme_str().is_some_and(|scheme| scheme == "https" || scheme == "http");
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let is_valid = text.len() <= LONGEST && !text.contains('#') && has_scheme && has_host && is_plain;
        if is_valid { Ok(Self(uri)) } else { Err(WebhookUrlError) }
    }
}

impl<'de> Deserialize<'de> for WebhookUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for WebhookUrl {
    fn schema_name() -> Cow<'static, str> {
        "WebhookUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": LONGEST, "pattern": "^https?://[^\\s/?#@]+([/?][^\\s#]*)?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_login() {
        for url in ["https://shop.example/prizes?slot=dev", "http://192.0.2.7:8080", "https://[2001:db8::1]/"] {
            assert!(url.parse::<WebhookUrl>().is_ok(), "{url}");
        }
        let long = format!("https://shop.example/{}", "a".repeat(LONGEST));
        for url in
            ["", "shop.example", "/prizes", "ftp://shop.example", "https://", "https://me:pass@shop.example", "https://a.b/#c", &long]
        {
            assert_eq!(url.parse::<WebhookUrl>(), Err(WebhookUrlError), "{url}");
        }
    }
}
