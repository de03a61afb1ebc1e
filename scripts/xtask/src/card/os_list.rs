//! The list by which Raspberry Pi Imager finds an image (its `doc/schema/os-list-schema.json`), to be given to it as a
//! custom repository.

use std::process::Command;

use capelin_platform::{Card, Platform};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::workspace;

/// The list with one entry: `image`, which will lie at `url`.
///
/// # Errors
/// If the date of the sources can't be told.
pub(super) fn json(platform: &Platform, card: &Card, image: &[u8], url: &str) -> Result<String> {
    let list = of(platform, card, image, url, &release_date()?);
    serde_json::to_string_pretty(&list)
        .map(|text| text + "\n")
        .map_err(|error| Error::Malformed(url.into(), error.to_string()))
}

fn of(platform: &Platform, card: &Card, image: &[u8], url: &str, date: &str) -> serde_json::Value {
    let digest = hex(&Sha256::digest(image));
    // The image isn't packed: what is downloaded is what is written.
    json!({
        "os_list": [{
            "name": "Capelin",
            "description": format!("Capelin, a multikernel operating system, for {}", platform.machines),
            "url": url,
            "extract_size": image.len(),
            "extract_sha256": digest,
            "image_download_size": image.len(),
            "image_download_sha256": digest,
            "release_date": date,
            "init_format": "none",
            "devices": card.imager_devices,
        }]
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The day of the last commit, so that the same sources give the same list.
fn release_date() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(workspace::root());
    git.args(["log", "-1", "--format=%cs"]);
    let output = git
        .output()
        .map_err(|error| Error::Spawn("git".to_owned(), error))?;
    if !output.status.success() {
        return Err(Error::Program("git log".to_owned(), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::declared;
    use crate::platforms;

    #[test]
    fn the_list_has_what_imager_checks() {
        let platform = platforms::find("rpi4").unwrap();
        let list = of(
            platform,
            &declared(platform).unwrap(),
            b"abc",
            "file:///x.img",
            "2026-11-27",
        );
        let entry = &list["os_list"][0];
        // The digest of "abc" (FIPS 180-4, example).
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            (&entry["extract_sha256"], &entry["extract_size"]),
            (&json!(digest), &json!(3))
        );
        assert_eq!(entry["image_download_size"], 3);
        assert_eq!(entry["url"], "file:///x.img");
        assert_eq!(entry["release_date"], "2026-11-27");
        assert_eq!(entry["devices"], json!(["pi4-64bit"]));
    }
}
