#include "sim/store.h"

#include <deque>

namespace odradek::sim {
namespace {

using metadata::CreatedNode;
using metadata::NodeData;
using metadata::Stat;
using metadata::StoreReply;
using metadata::Watch;

class SimStore final : public metadata::Store {
 public:
  SimStore(World& world, std::unique_ptr<metadata::Store> inner) : world_(world), inner_(std::move(inner)) {}
  ~SimStore() override {
    if (event_ != 0) world_.cancel(event_);
  }

  void open(metadata::SessionListener listener) override {
    submit([this, listener = std::move(listener)]() mutable { inner_->open(std::move(listener)); });
  }
  void close(Task done) override {
    submit([this, done = std::move(done)]() mutable { inner_->close(std::move(done)); });
  }
  metadata::SessionState state() const override { return inner_->state(); }
  int64_t session_id() const override { return inner_->session_id(); }

  void create(std::string path, Bytes data, metadata::CreateMode mode, StoreReply<CreatedNode> reply) override {
    submit([this, path = std::move(path), data = std::move(data), mode, reply = std::move(reply)]() mutable {
      inner_->create(std::move(path), std::move(data), mode, std::move(reply));
    });
  }
  void get(std::string path, Watch watch, StoreReply<NodeData> reply) override {
    submit([this, path = std::move(path), watch = std::move(watch), reply = std::move(reply)]() mutable {
      inner_->get(std::move(path), std::move(watch), std::move(reply));
    });
  }
  void exists(std::string path, Watch watch, StoreReply<Stat> reply) override {
    submit([this, path = std::move(path), watch = std::move(watch), reply = std::move(reply)]() mutable {
      inner_->exists(std::move(path), std::move(watch), std::move(reply));
    });
  }
  void children(std::string path, Watch watch, StoreReply<metadata::ChildList> reply) override {
    submit([this, path = std::move(path), watch = std::move(watch), reply = std::move(reply)]() mutable {
      inner_->children(std::move(path), std::move(watch), std::move(reply));
    });
  }
  void set(std::string path, Bytes data, int32_t expected_version, StoreReply<Stat> reply) override {
    submit([this, path = std::move(path), data = std::move(data), expected_version, reply = std::move(reply)]() mutable {
      inner_->set(std::move(path), std::move(data), expected_version, std::move(reply));
    });
  }
  void remove(std::string path, int32_t expected_version, StoreReply<void> reply) override {
    submit([this, path = std::move(path), expected_version, reply = std::move(reply)]() mutable {
      inner_->remove(std::move(path), expected_version, std::move(reply));
    });
  }
  void multi(std::vector<metadata::StoreOp> ops, metadata::MultiReply reply) override {
    submit([this, ops = std::move(ops), reply = std::move(reply)]() mutable { inner_->multi(std::move(ops), std::move(reply)); });
  }
  void sync(StoreReply<void> reply) override {
    submit([this, reply = std::move(reply)]() mutable { inner_->sync(std::move(reply)); });
  }

 private:
  void submit(Task operation) {
    waiting_.push_back(std::move(operation));
    if (event_ == 0) schedule();
  }
  // One commit: what waits by then, or a part of it.
  void schedule() {
    event_ = world_.after_us(world_.random.chance(90) ? world_.random.between(20, 500) : world_.random.between(500, 30'000), [this] {
      event_ = 0;
      size_t batch = 1 + world_.random.below(waiting_.size());
      for (; batch > 0; --batch) {
        Task operation = std::move(waiting_.front());
        waiting_.pop_front();
        operation();
      }
      if (!waiting_.empty()) schedule();
    });
  }

  World& world_;
  std::unique_ptr<metadata::Store> inner_;
  std::deque<Task> waiting_;
  World::EventId event_ = 0;
};

}  // namespace

std::unique_ptr<metadata::Store> make_sim_store(World& world, std::unique_ptr<metadata::Store> inner) {
  return std::make_unique<SimStore>(world, std::move(inner));
}

}  // namespace odradek::sim
