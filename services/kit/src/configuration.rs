//! Reads the one file that configures a process. An unknown key, a missing section and a wrong value are errors that name
//! the place in the file and what to write.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tenantry_contract::ServiceConfiguration;

use crate::json_pointer;

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file is missing or not readable.
    #[error("cannot read the configuration file {}: {source}; name it with --config", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A value in the file is missing, unknown or wrong.
    #[error("the configuration file {} is wrong at {place}: {message}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where: a JSON Pointer, or "its top level".
        place: String,
        /// What is wrong.
        message: String,
    },
}

/// Reads the file, with the service's own settings as `S`.
///
/// # Errors
/// When it cannot be read, or does not have the form of [`ServiceConfiguration`].
pub fn load<S: DeserializeOwned>(path: &Path) -> Result<ServiceConfiguration<S>, ConfigurationError> {
    let text = std::fs::read(path).map_err(|source| ConfigurationError::Unreadable { path: path.to_owned(), source })?;
    let mut deserializer = serde_json::Deserializer::from_slice(&text);
    let configuration = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = json_pointer::of(error.path());
        invalid(path, &pointer, error.into_inner().to_string())
    })?;
    deserializer.end().map_err(|error| invalid(path, "", error.to_string()))?;
    Ok(configuration)
}

/// An error at `pointer` of the file, for sections that a service needs and the file lacks.
pub(crate) fn invalid(path: &Path, pointer: &str, message: String) -> ConfigurationError {
    let place = if pointer.is_empty() { "its top level".to_owned() } else { pointer.to_owned() };
    ConfigurationError::Invalid { path: path.to_owned(), place, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        greeting: String,
    }

    fn load_text(text: &str) -> Result<ServiceConfiguration<Settings>, ConfigurationError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("service.json");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    fn text(settings: &str) -> String {
        format!(
            r#"{{"identity":{{"group":"g","slot":"dev","service":"greeter","release":"r"}},"listen":{{"apiPort":8080}},"settings":{settings}}}"#
        )
    }

    #[test]
    fn a_good_file_is_read() {
        let configuration = load_text(&text(r#"{"greeting":"hello"}"#)).unwrap();
        assert_eq!(configuration.settings.greeting, "hello");
        assert_eq!(configuration.listen.api_port, Some(8080));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = load_text(&text(r#"{"greeting":"hello","color":"red"}"#)).unwrap_err().to_string();
        assert!(error.contains("/settings/color") && error.contains("unknown field `color`"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_place() {
        let error = load_text(&text(r#"{"greeting":7}"#)).unwrap_err().to_string();
        assert!(error.contains("/settings/greeting"), "{error}");
    }

    #[test]
    fn a_missing_file_says_how_to_name_it() {
        let error = load::<Settings>(Path::new("/nowhere/service.json")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/service.json") && error.contains("--config"), "{error}");
    }
}
