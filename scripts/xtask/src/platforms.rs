//! The platforms that there are, as their crates declare them.

use capelin_platform::Platform;

use crate::error::{Error, Result};

/// All of them.
pub(crate) const ALL: [&Platform; 4] = [
    &capelin_platform_qemu_virt::PLATFORM,
    &capelin_platform_rpi4::PLATFORM,
    &capelin_platform_ampere::PLATFORM,
    &capelin_platform_generic::PLATFORM,
];

/// The platform called `name`.
///
/// # Errors
/// If there is none.
pub(crate) fn find(name: &str) -> Result<&'static Platform> {
    let found = ALL.into_iter().find(|platform| platform.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|platform| platform.name).collect();
        let names = names.join(", ");
        Error::Usage(format!("unknown platform {name:?}: there are {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::workspace;

    #[test]
    fn every_folder_of_platforms_is_one() {
        let folder = std::fs::read_dir(workspace::root().join("platforms")).unwrap();
        let mut folders: Vec<_> = folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut names: Vec<_> = ALL
            .iter()
            .map(|platform| platform.name.to_owned())
            .collect();
        folders.sort();
        names.sort();
        assert_eq!(folders, names);
    }

    #[test]
    fn every_platforms_image_has_a_manifest() {
        for platform in ALL {
            Manifest::load(platform.image).unwrap();
        }
        assert!(find("toaster").is_err());
        assert_eq!(find("rpi4").unwrap().name, "rpi4");
    }
}
