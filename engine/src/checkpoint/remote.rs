//! Object stores as a place for checkpoints, in programs that were built for them.
//!
//! Invariant: a URL whose store is not built in is refused with the feature that is missing. Every
//! call ends: each request has a time-out, and is repeated a few times at most.

use std::sync::Arc;

use super::store::Backend;
use crate::{Error, Result};

/// Opens what `url` names, of the store that the feature of the engine is for.
pub(super) fn open(feature: &str, url: &str) -> Result<Arc<dyn Backend>> {
    #[cfg(feature = "object-store")]
    if let Some(opened) = object::open(feature, url) {
        return opened.map(|backend| Arc::new(backend) as Arc<dyn Backend>);
    }
    let _ = url;
    Err(Error::Usage(format!(
        "--store: this program was built without the feature `{feature}`; build it with \
         `--features anabranch/{feature}`, or give a directory"
    )))
}

#[cfg(feature = "object-store")]
mod object {
    use std::io::{self, ErrorKind};
    use std::time::Duration;

    use object_store::path::Path;
    use object_store::{
        ClientOptions, Error as Wrong, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
        RetryConfig,
    };
    use tokio::runtime::{self, Runtime};

    use crate::checkpoint::local::too_large;
    use crate::checkpoint::store::{Backend, Entry};
    use crate::{Error, Result};

    /// How long one request may take: a table file on a slow line.
    const REQUEST: Duration = Duration::from_mins(2);
    /// How long a connection may take to be made.
    const CONNECT: Duration = Duration::from_secs(5);
    /// How often a request is repeated, at most.
    const RETRIES: usize = 5;

    pub(super) struct Remote {
        runtime: Runtime,
        store: Box<dyn ObjectStore>,
        prefix: Path,
    }

    /// None if the store of that feature is not built in.
    pub(super) fn open(feature: &str, url: &str) -> Option<Result<Remote>> {
        // Refused if another part of the program was first, whose choice is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT);
        // What the environment allows for tests: plain HTTP to a server nearby.
        let client =
            client.with_allow_http(std::env::var("AWS_ALLOW_HTTP").is_ok_and(|set| set == "true"));
        let retry =
            RetryConfig { max_retries: RETRIES, retry_timeout: REQUEST, ..RetryConfig::default() };
        let store: object_store::Result<Box<dyn ObjectStore>> = match feature {
            #[cfg(feature = "s3")]
            "s3" => object_store::aws::AmazonS3Builder::from_env()
                .with_url(url)
                .with_client_options(client)
                .with_retry(retry)
                .build()
                .map(|store| Box::new(store) as _),
            #[cfg(feature = "gcs")]
            "gcs" => object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_url(url)
                .with_client_options(client)
                .with_retry(retry)
                .build()
                .map(|store| Box::new(store) as _),
            #[cfg(feature = "azure")]
            "azure" => object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_url(url)
                .with_client_options(client)
                .with_retry(retry)
                .build()
                .map(|store| Box::new(store) as _),
            _ => return None,
        };
        Some(opened(store, url))
    }

    fn opened(store: object_store::Result<Box<dyn ObjectStore>>, url: &str) -> Result<Remote> {
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        let wrong = |e: &dyn std::fmt::Display| Error::Usage(format!("--store {shown}: {e}"));
        let store = store.map_err(|e| wrong(&e))?;
        let parsed = url::Url::parse(url).map_err(|e| wrong(&e))?;
        let prefix = Path::from_url_path(parsed.path()).map_err(|e| wrong(&e))?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|e| Error::io("cannot start the threads of --store", e))?;
        Ok(Remote { runtime, store, prefix })
    }

    impl Remote {
        fn path(&self, path: &str) -> Path {
            path.split('/').fold(self.prefix.clone(), |whole, part| whole.join(part))
        }
    }

    /// Never one that is tried again: that was done already.
    fn failed(wrong: Wrong) -> io::Error {
        let kind = match &wrong {
            Wrong::NotFound { .. } => ErrorKind::NotFound,
            Wrong::PermissionDenied { .. } | Wrong::Unauthenticated { .. } => {
                ErrorKind::PermissionDenied
            }
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, wrong)
    }

    impl Backend for Remote {
        fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
            let put = self.runtime.block_on(async {
                let path = self.path(path);
                self.store.put(&path, bytes.to_vec().into()).await
            });
            put.map(drop).map_err(failed)
        }

        fn put_if_absent(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
            let put = self.runtime.block_on(async {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                let path = self.path(path);
                self.store.put_opts(&path, bytes.to_vec().into(), options).await
            });
            match put {
                Ok(_) => Ok(true),
                Err(Wrong::AlreadyExists { .. } | Wrong::Precondition { .. }) => Ok(false),
                Err(wrong) => Err(failed(wrong)),
            }
        }

        fn get(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
            self.runtime.block_on(async {
                match self.store.get(&self.path(path)).await {
                    Ok(found) if found.meta.size > max => Err(too_large(found.meta.size, max)),
                    Ok(found) => {
                        let bytes = found.bytes().await.map_err(failed)?;
                        Ok(Some(bytes.into()))
                    }
                    Err(Wrong::NotFound { .. }) => Ok(None),
                    Err(wrong) => Err(failed(wrong)),
                }
            })
        }

        fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
            let folder_path = self.path(folder);
            let listed = self.store.list_with_delimiter(Some(&folder_path));
            let listed = self.runtime.block_on(listed).map_err(failed)?;
            let entries = listed.objects.into_iter().filter_map(|object| {
                let name = object.location.filename()?;
                Some(Entry { path: format!("{folder}/{name}"), bytes: object.size })
            });
            Ok(entries.filter(|entry| !entry.path.contains("/.")).collect())
        }

        fn delete(&self, path: &str) -> io::Result<()> {
            let path = self.path(path);
            match self.runtime.block_on(self.store.delete(&path)) {
                Ok(()) | Err(Wrong::NotFound { .. }) => Ok(()),
                Err(wrong) => Err(failed(wrong)),
            }
        }
    }
}
