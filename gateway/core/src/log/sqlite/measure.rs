//! How much of a file the log uses.

use sqlx::SqliteConnection;

/// The bytes of its pages that are in use, and of those that are free to be used again.
pub(super) async fn measure(connection: &mut SqliteConnection) -> Result<(u64, u64), sqlx::Error> {
    let (pages, free, size): (i64, i64, i64) = sqlx::query_as(
        "SELECT page_count, freelist_count, page_size
         FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
    )
    .fetch_one(connection)
    .await?;
    let bytes = |pages: i64| (pages.max(0) * size.max(0)).cast_unsigned();
    Ok((bytes(pages - free), bytes(free)))
}
