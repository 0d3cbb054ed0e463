//! Profiles in AWS's shared files: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::HashMap;

use crate::{
    publish::pusher::{
        config::PusherConfigError,
        secret::{Secret, SecretSource, Watched},
    },
    text_file,
};

use super::{credentials::Credentials, environment::AwsEnvironment};

/// Both files. They are read again when they change.
#[derive(Debug)]
pub(super) struct SharedFiles {
    credentials: Option<Watched>,
    config: Option<Watched>,
}

/// The settings of a profile; those in the credentials file override those in the configuration
/// file.
#[derive(Debug, Default)]
pub(super) struct Profile {
    settings: HashMap<String, Secret>,
}

impl SharedFiles {
    /// The files that are there.
    pub(super) fn open(environment: &AwsEnvironment) -> Result<Self, PusherConfigError> {
        let open = |variable, name| {
            let file = environment.file(variable, name).filter(|file| text_file::exists(file));
            let Some(file) = file else { return Ok(None) };
            // An empty file is fine here, but `Watched` refuses it.
            if text_file::read_regular(&file).is_ok_and(|text| text.trim().is_empty()) {
                return Ok(None);
            }
            Watched::new("sigv4", &SecretSource::File(file)).map(Some)
        };
        Ok(SharedFiles {
            credentials: open("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            config: open("AWS_CONFIG_FILE", "config")?,
        })
    }

    /// The current settings of a profile; `None` if neither file has it.
    pub(super) fn profile(&self, name: &str) -> Option<Profile> {
        let mut profile = None;
        let in_config = ["profile ", ""].map(|prefix| format!("{prefix}{name}"));
        // Only `default` may have a section without the prefix there.
        let in_config = if name == "default" { &in_config[..] } else { &in_config[..1] };
        if let Some(file) = &self.config {
            for section in in_config {
                read(file.current().expose(), section, &mut profile);
            }
        }
        if let Some(file) = &self.credentials {
            read(file.current().expose(), name, &mut profile);
        }
        profile
    }

    /// Reads the files at once. Returns whether they have changed.
    pub(super) fn look_again(&self) -> bool {
        let files = [&self.credentials, &self.config];
        // Both files are read in any case.
        files.map(|file| file.as_ref().is_some_and(Watched::look_again)).contains(&true)
    }
}

impl Profile {
    /// A setting's value, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// The access key, if it is complete.
    pub(super) fn keys(&self) -> Option<Credentials> {
        Some(Credentials {
            id: self.get("aws_access_key_id")?.to_owned(),
            secret: Secret::new(self.get("aws_secret_access_key")?),
            session_token: self.get("aws_session_token").map(Secret::new),
        })
    }
}

/// Adds the settings in a section of a file to a profile. Later ones override earlier ones.
fn read(text: &str, section: &str, profile: &mut Option<Profile>) {
    let mut is_here = false;
    // Indented lines below a setting without a value belong to it.
    let mut is_nested = false;
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || is_indented && is_nested {
            continue;
        }
        is_nested = false;
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default();
            is_here = name.split_whitespace().eq(section.split_whitespace());
            if is_here {
                profile.get_or_insert_default();
            }
        } else if let Some((name, value)) = line.split_once('=') {
            let value = value.split(" #").next().unwrap_or_default().trim();
            is_nested = value.is_empty();
            if is_here {
                let settings = &mut profile.get_or_insert_default().settings;
                settings.insert(name.trim().to_ascii_lowercase(), Secret::new(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_profile_has_the_settings_of_both_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let aws = directory.path().join(".aws");
        fs::create_dir(&aws).expect("made");
        let home = directory.path().to_str().expect("a path");
        let environment = AwsEnvironment::of([("HOME", home)]);
        let none = SharedFiles::open(&environment).expect("no files");
        assert!(none.profile("default").is_none());

        fs::write(
            aws.join("credentials"),
            "# ours\n[default]\naws_access_key_id = id\naws_secret_access_key=se=cret\n\n\
             [push]\naws_access_key_id=id2\naws_secret_access_key=secret2\n\
             aws_session_token=token\nregion=x\n[none]\n",
        )
        .expect("written");
        fs::write(
            aws.join("config"),
            "[default]\nregion = eu-central-1 # near\n[ profile  role ]\nrole_arn=arn\ns3 =\n  \
             role_arn = nested\n; role_arn=comment\nsource_profile=push\n[push]\nrole_arn=no\n\
             [profile push]\nregion=y\nsts_regional_endpoints=legacy\n",
        )
        .expect("written");
        let files = SharedFiles::open(&environment).expect("files");
        let get = |profile: &str, setting| {
            files.profile(profile).and_then(|profile| profile.get(setting).map(str::to_owned))
        };
        let keys = files.profile("default").and_then(|profile| profile.keys()).expect("keys");
        assert_eq!((keys.id.as_str(), keys.secret.expose()), ("id", "se=cret"));
        assert_eq!(get("default", "region").as_deref(), Some("eu-central-1"));
        let keys = files.profile("push").and_then(|profile| profile.keys()).expect("keys");
        assert_eq!(keys.session_token, Some(Secret::new("token")));
        assert_eq!(get("push", "region").as_deref(), Some("x"));
        assert_eq!(get("push", "sts_regional_endpoints").as_deref(), Some("legacy"));
        assert_eq!(get("push", "role_arn"), None);
        assert_eq!(get("role", "role_arn").as_deref(), Some("arn"));
        assert_eq!(get("role", "source_profile").as_deref(), Some("push"));
        assert!(files.profile("none").is_some_and(|profile| profile.keys().is_none()));
        assert!(files.profile("other").is_none());
        assert!(!format!("{files:?} {:?}", files.profile("push")).contains("secret2"));
    }
}
