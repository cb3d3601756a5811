#include "metadata/store/sqlite_file.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>

namespace odradek::metadata {

namespace {
constexpr int kApplicationId = 0x4f44524b;  // "ODRK" in the file's header
constexpr int kLayoutVersion = 1;

int64_t pragma(sqlite3* db, const char* sql) {
  sqlite3_stmt* statement = nullptr;
  int64_t value = -1;
  if (sqlite3_prepare_v2(db, sql, -1, &statement, nullptr) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
    value = sqlite3_column_int64(statement, 0);
  }
  sqlite3_finalize(statement);
  return value;
}
}  // namespace

Result<std::unique_ptr<SqliteFile>> SqliteFile::open(const std::string& path) {
  sqlite3* db = nullptr;
  int code = sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteFile> file(new SqliteFile(db, path));
  if (code != SQLITE_OK) return file->failure("open");
  sqlite3_extended_result_codes(db, 1);
  // Exclusive: one broker at a time, and no shared-memory file. The first transaction takes the lock and keeps it.
  if (auto done = file->run("PRAGMA locking_mode=EXCLUSIVE"); !done) return fail(done.error());
  if (auto done = file->run("PRAGMA journal_mode=WAL"); !done) return fail(done.error());
  if (auto done = file->run("PRAGMA synchronous=FULL"); !done) return fail(done.error());
  if (auto done = file->run("BEGIN IMMEDIATE"); !done) return fail(done.error());
  int64_t application = pragma(db, "PRAGMA application_id");
  int64_t layout = pragma(db, "PRAGMA user_version");
  bool fresh = application == 0 && layout == 0 && pragma(db, "SELECT count(*) FROM sqlite_master") == 0;
  if (!fresh && (application != kApplicationId || layout != kLayoutVersion)) {
    return fail(kStorageErrorCode, fmt::format("{} is not a metadata store of this release (application id {}, layout {}): move it away or use the release that wrote it",
                                               path, application, layout));
  }
  if (fresh) {
    auto made = file->run(
        "CREATE TABLE node(path TEXT PRIMARY KEY, data BLOB, czxid INTEGER, mzxid INTEGER, pzxid INTEGER, ctime_ms INTEGER, mtime_ms INTEGER,"
        " version INTEGER, children_created INTEGER) WITHOUT ROWID;"
        "CREATE TABLE last(zxid INTEGER);"
        "INSERT INTO last VALUES(0)");
    if (!made) return fail(made.error());
    if (auto done = file->run(fmt::format("PRAGMA application_id={};PRAGMA user_version={}", kApplicationId, kLayoutVersion).c_str()); !done) {
      return fail(done.error());
    }
  }
  if (auto done = file->run("COMMIT"); !done) return fail(done.error());
  if (auto done = file->prepare(); !done) return fail(done.error());
  return file;
}

SqliteFile::~SqliteFile() {
  sqlite3_finalize(put_);
  sqlite3_finalize(erase_);
  sqlite3_finalize(zxid_);
  sqlite3_close(db_);
}

tl::unexpected<Error> SqliteFile::failure(const char* doing_what) const {
  int code = sqlite3_errcode(db_);
  const int os_error = (code & 0xff) == SQLITE_FULL ? ENOSPC : sqlite3_system_errno(db_);
  std::string hint = (code & 0xff) == SQLITE_BUSY ? ": another process has it open" : "";
  return fail(kStorageErrorCode, fmt::format("metadata store {}: {}: {}{}", path_, doing_what, sqlite3_errmsg(db_), hint), os_error);
}

Result<void> SqliteFile::run(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failure(sql);
  return {};
}

Result<void> SqliteFile::prepare() {
  auto make = [&](const char* sql, sqlite3_stmt*& statement) {
    return sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) == SQLITE_OK;
  };
  if (make("INSERT OR REPLACE INTO node VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)", put_) && make("DELETE FROM node WHERE path=?1", erase_) &&
      make("UPDATE last SET zxid=?1", zxid_)) {
    return {};
  }
  return failure("prepare");
}

Result<void> SqliteFile::load(const std::function<bool(const std::string&, NodeTree::Node)>& each, int64_t& zxid) {
  sqlite3_stmt* rows = nullptr;
  // A parent's path is shorter than its children's, and a prefix of them: it comes first in byte order.
  if (sqlite3_prepare_v2(db_, "SELECT path,data,czxid,mzxid,pzxid,ctime_ms,mtime_ms,version,children_created FROM node ORDER BY path", -1, &rows,
                         nullptr) != SQLITE_OK) {
    return failure("read");
  }
  int code;
  bool whole = true;
  while (whole && (code = sqlite3_step(rows)) == SQLITE_ROW) {
    std::string path(reinterpret_cast<const char*>(sqlite3_column_text(rows, 0)), static_cast<size_t>(sqlite3_column_bytes(rows, 0)));
    NodeTree::Node node;
    const auto* data = static_cast<const uint8_t*>(sqlite3_column_blob(rows, 1));
    if (data != nullptr) node.data.assign(data, data + sqlite3_column_bytes(rows, 1));
    node.czxid = sqlite3_column_int64(rows, 2);
    node.mzxid = sqlite3_column_int64(rows, 3);
    node.pzxid = sqlite3_column_int64(rows, 4);
    node.ctime_ms = sqlite3_column_int64(rows, 5);
    node.mtime_ms = sqlite3_column_int64(rows, 6);
    node.version = sqlite3_column_int(rows, 7);
    node.children_created = sqlite3_column_int(rows, 8);
    whole = each(path, std::move(node));
  }
  Result<void> result;
  if (!whole) {
    result = fail(kStorageErrorCode, fmt::format("metadata store {}: a node has no parent: the file is damaged", path_));
  } else if (code != SQLITE_DONE) {
    result = failure("read");
  }
  sqlite3_finalize(rows);
  if (!result) return result;
  zxid = pragma(db_, "SELECT zxid FROM last");
  return {};
}

Result<void> SqliteFile::step(sqlite3_stmt* statement, const char* doing_what) {
  int code = sqlite3_step(statement);
  auto result = code == SQLITE_DONE ? Result<void>() : Result<void>(failure(doing_what));
  sqlite3_reset(statement);
  return result;
}

Result<void> SqliteFile::begin() { return run("BEGIN IMMEDIATE"); }

Result<void> SqliteFile::put(const std::string& path, const NodeTree::Node& node) {
  sqlite3_bind_text(put_, 1, path.data(), static_cast<int>(path.size()), SQLITE_STATIC);
  sqlite3_bind_blob(put_, 2, node.data.data(), static_cast<int>(node.data.size()), SQLITE_STATIC);
  sqlite3_bind_int64(put_, 3, node.czxid);
  sqlite3_bind_int64(put_, 4, node.mzxid);
  sqlite3_bind_int64(put_, 5, node.pzxid);
  sqlite3_bind_int64(put_, 6, node.ctime_ms);
  sqlite3_bind_int64(put_, 7, node.mtime_ms);
  sqlite3_bind_int(put_, 8, node.version);
  sqlite3_bind_int(put_, 9, node.children_created);
  return step(put_, "write a node");
}

Result<void> SqliteFile::erase(const std::string& path) {
  sqlite3_bind_text(erase_, 1, path.data(), static_cast<int>(path.size()), SQLITE_STATIC);
  return step(erase_, "remove a node");
}

Result<void> SqliteFile::commit(int64_t zxid) {
  sqlite3_bind_int64(zxid_, 1, zxid);
  if (auto done = step(zxid_, "write the zxid"); !done) return done;
  return run("COMMIT");
}

void SqliteFile::rollback() {
  if (sqlite3_get_autocommit(db_) == 0) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

}  // namespace odradek::metadata
