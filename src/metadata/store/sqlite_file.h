// The file behind the embedded store: one table of persistent nodes, one row per node, and the last zxid. Knows SQLite, knows no
// tree. Errors: kStorageErrorCode with SQLite's words.
// Thread: one thread works on it. Blocks on the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "metadata/store/node_tree.h"

struct sqlite3;
struct sqlite3_stmt;

namespace odradek::metadata {

class SqliteFile {
 public:
  // Takes the file for this process alone (another one gets an error).
  static Result<std::unique_ptr<SqliteFile>> open(const std::string& path);
  ~SqliteFile();

  // Every node, parents before children, and the last zxid.
  Result<void> load(const std::function<bool(const std::string& path, NodeTree::Node node)>& each, int64_t& zxid);

  // One transaction: between begin() and commit() any number of put() and erase(). After an error: rollback().
  Result<void> begin();
  Result<void> put(const std::string& path, const NodeTree::Node& node);
  Result<void> erase(const std::string& path);
  // On disk when it returns.
  Result<void> commit(int64_t zxid);
  void rollback();

 private:
  SqliteFile(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  Result<void> run(const char* sql);
  Result<void> prepare();
  Result<void> step(sqlite3_stmt* statement, const char* doing_what);
  tl::unexpected<Error> failure(const char* doing_what) const;

  sqlite3* db_;
  std::string path_;
  sqlite3_stmt* put_ = nullptr;
  sqlite3_stmt* erase_ = nullptr;
  sqlite3_stmt* zxid_ = nullptr;
};

}  // namespace odradek::metadata
