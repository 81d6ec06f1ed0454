//! What a deployment needs beside Redis: its database and its mail server.

use super::report::{Report, Status};
use gateway_core::config::{Config, DatabaseKind};
use gateway_store::Store;
use gateway_work::mail::Mail;

const DATABASE: &str = "docs/database.md";

/// Looks at both. Nothing is changed, and no letter is sent.
pub(super) async fn look(config: &Config, report: &mut Report) {
    database(config, report).await;
    match Mail::probe(&config.mail).await {
        None => report.skipped("mail", "mail.host", "is not set: no mail is sent"),
        Some(Ok(server)) => report.ok("mail", server, "takes mail, as whom the configuration names"),
        Some(Err(why)) => {
            let todo = "compare mail.host, mail.port, mail.tls and the login with what the server wants; what is to be sent waits meanwhile";
            report.found(Status::Error, "mail", "mail.host", why, (todo, "docs/mail.md"));
        }
    }
}

async fn database(config: &Config, report: &mut Report) {
    let about = "database.url";
    match config.database_kind() {
        DatabaseKind::None => {
            return report.skipped(
                "database",
                about,
                "is not set: there is no archive, and notifications are not kept",
            );
        }
        DatabaseKind::Memory => {
            return report.skipped("database", about, "everything is in the node's memory (data_dir is empty)");
        }
        // Its node has it locked, and brings it up to date itself.
        DatabaseKind::Sqlite => return folder(config, report),
        DatabaseKind::Postgres | DatabaseKind::MongoDb => {}
    }
    let store = match Store::open(config).await {
        Ok(Some(store)) => store,
        Ok(None) => return,
        Err(error) => {
            return report.found(
                Status::Error,
                "database",
                about,
                error.to_string(),
                ("put database.url right", DATABASE),
            );
        }
    };
    let standing = store.standing().await;
    store.close().await;
    match standing {
        Ok(it) if it.from == it.to => {
            report.ok("database", about, format!("{} answers, and its tables are of version {}", store.kind(), it.to));
        }
        Ok(it) if it.from < it.to => {
            let seen = format!(
                "{} answers; its tables are of version {}, and this gateway has {}",
                store.kind(),
                it.from,
                it.to
            );
            let todo = "gateway migrate, or start a node of this version: it does the same";
            report.found(
                Status::Warning,
                "database",
                about,
                seen,
                (todo, "docs/database.md#tables-and-who-makes-them"),
            );
        }
        Ok(it) => {
            let seen = format!(
                "{} answers; its tables are of version {}, newer than this gateway's {}",
                store.kind(),
                it.from,
                it.to
            );
            let todo = "take the gateway of the newer version: this one would not start with these tables";
            report.found(Status::Error, "database", about, seen, (todo, "docs/database.md#tables-and-who-makes-them"));
        }
        Err(error) => {
            let todo = "see whether it runs, and whether it is reached from here with this user and password";
            report.found(
                Status::Error,
                "database",
                about,
                error.to_string(),
                (todo, "docs/runbooks.md#gatewaydatabaseaway"),
            );
        }
    }
}

fn folder(config: &Config, report: &mut Report) {
    let folder = &config.data_dir;
    let about = format!("data_dir {}", folder.display());
    match std::fs::metadata(folder) {
        Ok(it) if it.is_dir() && !it.permissions().readonly() => {
            report.ok("database", about, "is there; its files are the node's while it runs");
        }
        Ok(_) => {
            let advice = ("let the node's user write there", "docs/operations.md#embedded-mode");
            report.found(Status::Error, "database", about, "is no folder, or may not be written to", advice);
        }
        Err(error) => report.skipped("database", about, format!("cannot be seen from here ({error})")),
    }
}
