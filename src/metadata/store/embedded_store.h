// The store of a node that needs no other service: the tree in one SQLite file (WAL, synchronous=FULL) and a copy of it in memory.
// Every change is one SQLite transaction, on disk before it is answered. Ephemeral nodes live in memory only, so the end of the
// process is the end of its sessions. If the file fails, changes are answered with kStorage and leave no trace, reads go on, and each
// later change tries again. Changes that wait while the disk is busy share its next commit.
// Thread: one executor thread of its own (`metadata-store`) does all work; SQLite opens the file itself.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/executor.h"
#include "base/result.h"
#include "metadata/store/store.h"

namespace odradek::metadata {

inline constexpr const char* kEmbeddedStoreFile = "odradek-metadata.db";

class EmbeddedTree;

// The tree itself; several sessions may share it (tests and simulations of several brokers in one process).
// `path`: the file, created if missing; "" keeps the tree in memory only (simulation).
// Errors: kStorageErrorCode: not readable, not a store of this program, or another process has it open.
Result<std::shared_ptr<EmbeddedTree>> open_embedded_tree(base::Runtime& runtime, const std::string& path);
// One session on the tree. Shared: the tree lives as long as its last session. `callbacks` outlives the store. Destroyed without
// close(): the session ends, and what was not answered yet never is.
std::unique_ptr<Store> make_embedded_store(std::shared_ptr<EmbeddedTree> tree, base::Executor& callbacks);
// Both in one.
Result<std::unique_ptr<Store>> make_embedded_store(base::Runtime& runtime, base::Executor& callbacks, const std::string& path);
// `make_room` is asked on the store's thread when a change finds the disk full; true: there is more room, try again. Other stores have
// no disk here. It must stay callable as long as the store.
void on_full_disk(Store& store, std::function<bool()> make_room);
// Ends the session of a store as if it had been silent for too long (tests, simulation).
void expire_session(Store& embedded_store);

}  // namespace odradek::metadata
