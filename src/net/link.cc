#include "net/link.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/mutex.h"
#include "model/error_code.h"
#include "net/link_state.h"
#include "net/link_thread.h"
#include "net/resolve.h"

namespace odradek::net {
namespace {

class TcpLink final : public Link {
 public:
  explicit TcpLink(LinkPtr state) : state_(std::move(state)) {}
  ~TcpLink() override { state_->close(); }
  void send(base::Output request, std::chrono::milliseconds timeout, Done done) override { state_->send(std::move(request), timeout, std::move(done)); }
  void fail_all(Error why) override { state_->fail_all(std::move(why)); }
  bool broken() const override { return state_->is_broken.load(std::memory_order_acquire); }
  int64_t received_bytes() const override { return state_->received_bytes(); }
  std::chrono::microseconds round_trip() const override { return state_->round_trip(); }

 private:
  LinkPtr state_;
};

class TcpLinks final : public Links {
 public:
  TcpLinks(base::Runtime& runtime, int threads) : runtime_(runtime) {
    for (int i = 0; i < std::max(threads, 1); ++i) threads_.push_back(std::make_unique<LinkThread>("link-" + std::to_string(i)));
  }
  ~TcpLinks() override { resolver_.reset(); }

  std::unique_ptr<Link> open(const Endpoint& to, LinkOptions options, base::Executor& executor) override {
    uint64_t id = ++last_id_;
    LinkThread& thread = *threads_[id % threads_.size()];
    auto state = std::make_shared<LinkState>(id, to, options, runtime_, executor, thread);
    auto link = std::make_unique<TcpLink>(state);
    if (options.protocol != SecurityProtocol::kPlaintext) {
      state->fail_all({ErrorCode::kNetworkException, to.to_string() + ": outgoing connections of protocol " + std::string(name_of(options.protocol)) + " are not served"});
      return link;
    }
    state->start_timer();
    if (auto addresses = resolve(to.host, to.port, Names::kNumeric)) {
      thread.connect(std::move(state), std::move(*addresses));
      return link;
    }
    resolver().post([weak = std::weak_ptr<LinkState>(state)] {
      auto self = weak.lock();
      if (!self) return;
      auto found = resolve(self->to.host, self->to.port);
      if (!found) return self->fail_all({ErrorCode::kNetworkException, self->to.host + ": " + found.error().what});
      LinkThread& runs_on = self->thread;
      runs_on.connect(std::move(self), std::move(*found));
    });
    return link;
  }

 private:
  base::Executor& resolver() {
    base::MutexLock lock(mutex_);
    if (!resolver_) resolver_ = runtime_.make_executor("resolver", 1);
    return *resolver_;
  }

  base::Runtime& runtime_;
  std::atomic<uint64_t> last_id_{0};
  std::vector<std::unique_ptr<LinkThread>> threads_;
  base::Mutex mutex_;
  std::unique_ptr<base::Executor> resolver_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Links> make_tcp_links(base::Runtime& runtime, int threads) { return std::make_unique<TcpLinks>(runtime, threads); }

}  // namespace odradek::net
