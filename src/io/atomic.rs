//! Replacing a file all at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Error, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Writes a file so that its old contents, or its absence, last until the new ones are whole and on the
/// disk: to a temporary file in the same folder, which is then renamed. A link is followed, and an old
/// file's permissions are kept.
///
/// # Errors
/// What the system returns, or `write`; the temporary file is gone then.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()); // a new file has no links yet
    let old = fs::metadata(path).ok();
    if path.file_name().is_none() || old.as_ref().is_some_and(|old| !old.is_file()) {
        return Err(Error::new(ErrorKind::InvalidInput, "not the name of a file"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (file, temporary) = Temporary::create(folder)?;
    let mut writer = BufWriter::new(&file);
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    if let Some(old) = old {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()?;
    drop(file); // some systems do not rename a file that is open
    fs::rename(&temporary.0, path)?;
    std::mem::forget(temporary);
    // The name is on the disk when the folder is. Not every system can do that, and the file is whole
    // under either name.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// A file that is removed, unless it was renamed: on an error, and when a thread panics.
struct Temporary(PathBuf);

impl Temporary {
    fn create(folder: &Path) -> io::Result<(File, Self)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Relaxed);
            let path = folder.join(format!(".tapegrad-{}-{number}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, Temporary(path))),
                // Left over from a process of the same number that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < u64::from(u32::MAX) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn what_interrupts_writing_leaves_the_old_file_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("tapegrad-atomic-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        replace(&path, |file| file.write_all(b"old")).unwrap();
        let files = || fs::read_dir(&folder).unwrap().count();

        let full = replace(&path, |file| {
            file.write_all(&[0; 100_000])?;
            Err(Error::new(ErrorKind::StorageFull, "no space left"))
        });
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!((fs::read(&path).unwrap(), files()), (b"old".to_vec(), 1));

        let panicked = catch_unwind(AssertUnwindSafe(|| {
            replace(&path, |file| {
                file.write_all(b"half").unwrap();
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((fs::read(&path).unwrap(), files()), (b"old".to_vec(), 1));

        replace(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!((fs::read(&path).unwrap(), files()), (b"new".to_vec(), 1));
        assert!(replace(&folder, |_| Ok(())).is_err());
        assert!(replace(&folder.join("missing").join("file"), |_| Ok(())).is_err());
        assert_eq!(files(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = std::env::temp_dir().join(format!("tapegrad-links-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, link) = (folder.join("file"), folder.join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&path, &link).unwrap();
        replace(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
