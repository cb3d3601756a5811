// Stores that fail, hold back or meddle, around one that works: what a controller must get over.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "metadata/store/store.h"

namespace odradek::controller {

// Answers so many multis that begin at a path with an error, undone.
class FailingStore : public metadata::Store {
 public:
  FailingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, metadata::StoreError error, int& failures)
      : store_(std::move(store)), callbacks_(callbacks), path_(std::move(path)), error_(error), failures_(failures) {}
  metadata::Store& inner() { return *store_; }
  void open(metadata::SessionListener listener) override { store_->open(std::move(listener)); }
  void close(Task done) override { store_->close(std::move(done)); }
  metadata::SessionState state() const override { return store_->state(); }
  int64_t session_id() const override { return store_->session_id(); }
  void create(std::string path, Bytes data, metadata::CreateMode mode, metadata::StoreReply<metadata::CreatedNode> reply) override {
    store_->create(std::move(path), std::move(data), mode, std::move(reply));
  }
  void get(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::NodeData> reply) override {
    store_->get(std::move(path), std::move(watch), std::move(reply));
  }
  void exists(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::Stat> reply) override {
    store_->exists(std::move(path), std::move(watch), std::move(reply));
  }
  void children(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::ChildList> reply) override {
    store_->children(std::move(path), std::move(watch), std::move(reply));
  }
  void set(std::string path, Bytes data, int32_t version, metadata::StoreReply<metadata::Stat> reply) override {
    store_->set(std::move(path), std::move(data), version, std::move(reply));
  }
  void remove(std::string path, int32_t version, metadata::StoreReply<void> reply) override { store_->remove(std::move(path), version, std::move(reply)); }
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    if (failures_ > 0 && ops.front().path == path_) {
      --failures_;
      return callbacks_.post([error = error_, reply = std::move(reply)]() mutable { reply(tl::unexpected(metadata::MultiFailure{error, -1})); });
    }
    store_->multi(std::move(ops), std::move(reply));
  }
  void sync(metadata::StoreReply<void> reply) override { store_->sync(std::move(reply)); }

 private:
  std::unique_ptr<metadata::Store> store_;
  base::Executor& callbacks_;
  const std::string path_;
  const metadata::StoreError error_;
  int& failures_;
};

// Keeps the sizes of the multis, the check of the controller's epoch among them.
class CountingStore final : public FailingStore {
 public:
  CountingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::vector<size_t>& sizes)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), sizes_(sizes) {}
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    sizes_.push_back(ops.size());
    FailingStore::multi(std::move(ops), std::move(reply));
  }

 private:
  int none_ = 0;
  std::vector<size_t>& sizes_;
};

// Keeps the reads of partition states until they are let go.
class HoldingStore final : public FailingStore {
 public:
  HoldingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::vector<Task>& held)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), held_(held) {}
  void get(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::NodeData> reply) override {
    if (!path.ends_with("/state")) return FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    held_.push_back([this, path = std::move(path), watch = std::move(watch), reply = std::move(reply)]() mutable {
      FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    });
  }

 private:
  int none_ = 0;
  std::vector<Task>& held_;
};

// Keeps the reads of one node while it is armed.
class HoldingNodeStore final : public FailingStore {
 public:
  HoldingNodeStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, const bool& armed, std::vector<Task>& held)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), path_(std::move(path)), armed_(armed), held_(held) {}
  void get(std::string path, metadata::Watch watch, metadata::StoreReply<metadata::NodeData> reply) override {
    if (!armed_ || path != path_) return FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    held_.push_back([this, path = std::move(path), watch = std::move(watch), reply = std::move(reply)]() mutable {
      FailingStore::get(std::move(path), std::move(watch), std::move(reply));
    });
  }

 private:
  int none_ = 0;
  const std::string path_;
  const bool& armed_;
  std::vector<Task>& held_;
};

// Answers multis with an operation that `refuse` names as if its version were wrong.
class RefusingStore final : public FailingStore {
 public:
  using Refuse = std::function<bool(const metadata::StoreOp&)>;
  RefusingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, const Refuse& refuse)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), callbacks_(callbacks), refuse_(refuse) {}
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    auto refused = refuse_ ? std::find_if(ops.begin(), ops.end(), refuse_) : ops.end();
    if (refused == ops.end()) return FailingStore::multi(std::move(ops), std::move(reply));
    metadata::MultiFailure failure{metadata::StoreError::kBadVersion, static_cast<int32_t>(refused - ops.begin())};
    callbacks_.post([failure, reply = std::move(reply)]() mutable { reply(tl::unexpected(failure)); });
  }

 private:
  int none_ = 0;
  base::Executor& callbacks_;
  const Refuse& refuse_;
};

// Somebody else sets a node just before it is set here, once this is armed.
class MeddlingStore final : public FailingStore {
 public:
  MeddlingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, const Bytes& data, bool& armed)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), path_(std::move(path)), data_(data), armed_(armed) {}
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    for (const metadata::StoreOp& op : ops) {
      if (op.kind == metadata::StoreOp::Kind::kSet) meddle(op.path);
    }
    FailingStore::multi(std::move(ops), std::move(reply));
  }
  void set(std::string path, Bytes data, int32_t version, metadata::StoreReply<metadata::Stat> reply) override {
    meddle(path);
    FailingStore::set(std::move(path), std::move(data), version, std::move(reply));
  }

 private:
  void meddle(const std::string& path) {
    if (path != path_ || !std::exchange(armed_, false)) return;
    inner().set(path_, data_, metadata::kAnyVersion, [](auto done) { EXPECT_TRUE(done); });
  }
  int none_ = 0;
  const std::string path_;
  const Bytes& data_;
  bool& armed_;
};

// The connection is lost with the first creation under a path, which has not taken effect.
class LosingStore final : public FailingStore {
 public:
  LosingStore(std::unique_ptr<metadata::Store> store, base::Executor& callbacks, std::string path, int& losses)
      : FailingStore(std::move(store), callbacks, "", metadata::StoreError::kNone, none_), callbacks_(callbacks), path_(std::move(path)), losses_(losses) {}
  void create(std::string path, Bytes data, metadata::CreateMode mode, metadata::StoreReply<metadata::CreatedNode> reply) override {
    if (!path.starts_with(path_) || losses_++ > 0) return FailingStore::create(std::move(path), std::move(data), mode, std::move(reply));
    callbacks_.post([reply = std::move(reply)]() mutable { reply(tl::unexpected(metadata::StoreError::kConnectionLoss)); });
  }

 private:
  int none_ = 0;
  base::Executor& callbacks_;
  const std::string path_;
  int& losses_;
};

}  // namespace odradek::controller
