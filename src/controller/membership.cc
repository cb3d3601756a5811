#include "controller/membership.h"

#include <fmt/format.h>

#include <atomic>

#include "base/clock.h"
#include "base/log.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/tree_client.h"
#include "model/error_code.h"

namespace odradek::controller {

using metadata::Async;
using metadata::SessionState;

struct Membership::Impl : std::enable_shared_from_this<Membership::Impl> {
  Impl(base::Runtime& r, base::Executor& e, metadata::Store& s, metadata::ConfigStore& c) : runtime(r), executor(e), store(s), configs(c), tree(r, e, s) {}

  void on_session(SessionState now) {
    bool well = now == SessionState::kConnected || now == SessionState::kClosed;
    if (now == SessionState::kConnected) connects.fetch_add(1, std::memory_order_relaxed);
    if (now == SessionState::kConnecting) disconnects.fetch_add(1, std::memory_order_relaxed);
    if (now == SessionState::kExpired) expirations.fetch_add(1, std::memory_order_relaxed);
    log::at("metadata", well ? log::Level::kInfo : log::Level::kWarn, "the session is {}", name_of(now));
    if (now == SessionState::kConnected && opening) std::exchange(opening, {})(Result<void>());
    if (now == SessionState::kConnected && connecting) {
      metadata::spawn(enter(shared_from_this()));
    } else if (now == SessionState::kConnected && expired) {
      expired = false;
      metadata::spawn(enter_again(shared_from_this()));
    } else if (now == SessionState::kExpired) {
      expired = true;
      former_session = registered_session;
      if (controller != nullptr) controller->on_session_expired();
      store.open({});
    }
  }

  void open() {
    if (std::exchange(opened, true)) return;
    store.open([weak = weak_from_this()](SessionState now) {
      if (auto self = weak.lock()) self->on_session(now);
    });
  }

  Async<void> enter([[maybe_unused]] std::shared_ptr<Impl> self) {
    auto done = std::exchange(connecting, {});
    auto paths = co_await metadata::callback<Result<void>>([this](auto reply) { metadata::create_base_paths(tree, std::move(reply)); });
    if (!paths) co_return done(fail(paths.error()));
    auto id = co_await metadata::callback<Result<std::string>>(
        [this](auto reply) { metadata::create_or_read_cluster_id(tree, known_cluster_id, std::move(reply)); });
    if (!id) co_return done(fail(id.error()));
    auto loaded = co_await metadata::callback<Result<void>>([this](auto reply) { configs.load(std::move(reply)); });
    if (!loaded) co_return done(fail(loaded.error()));
    done(Connected{*id});
  }

  // Whoever is a broker may become coordinator of transactions, and lose them if it does not know them.
  Async<Result<void>> check_transactions() {
    auto topic = co_await tree.exists(metadata::paths::topic(kTransactionStateTopic));
    if (!topic && topic.error() == metadata::StoreError::kNoNode) co_return Result<void>();
    if (!topic) co_return fail(metadata::to_error(topic.error(), "look for transactions"));
    if (options.holds_transactions) {
      auto alive = co_await tree.children(metadata::paths::kBrokerIds);
      if (!alive) co_return fail(metadata::to_error(alive.error(), "look for other brokers"));
      const std::string self = std::to_string(info.id.value);
      if (std::all_of(alive->names.begin(), alive->names.end(), [&](const std::string& id) { return id == self; })) co_return Result<void>();
    }
    co_return fail(ErrorCode::kInvalidConfig,
                   fmt::format("this cluster has the topic {}, so producers use transactions, and this version does not serve them: keep this broker on Apache "
                               "Kafka, or join a cluster that has no transactions",
                               kTransactionStateTopic));
  }

  Async<Result<void>> register_now() {
    // Once in, it stays: leaving a cluster in the middle would take its replicas away.
    if (registered_session == 0 && options.refuse_transactions) {
      auto none = co_await check_transactions();
      if (!none) co_return none;
    }
    metadata::BrokerInfo copy = info;
    auto epoch = co_await metadata::callback<Result<int64_t>>(
        [this, &copy](auto reply) { metadata::register_broker(tree, copy, former_session, std::move(reply)); });
    if (!epoch) co_return fail(epoch.error());
    registered_session = store.session_id();
    log::info("metadata", "broker {} is registered, epoch {}", info.id.value, *epoch);
    on_epoch(*epoch);
    controller->start(*epoch);
    co_return Result<void>();
  }

  Async<void> first_registration([[maybe_unused]] std::shared_ptr<Impl> self, UniqueFunction<void(Result<void>)> done) {
    constexpr int64_t kLookMs = 500;
    int64_t waited_ms = 0;
    for (;;) {
      auto registered = co_await register_now();
      if (registered || registered.error().code != ErrorCode::kDuplicateBrokerRegistration || waited_ms >= options.wait_for_former_ms || leaving) {
        co_return done(std::move(registered));
      }
      if (waited_ms == 0) {
        log::warn("metadata", "{}; waiting {} ms for the end of that session", registered.error().what, options.wait_for_former_ms);
      }
      co_await tree.pause(kLookMs);
      waited_ms += kLookMs;
    }
  }

  // After an expired session: everything that stood on it is set up again; what cannot be is tried until it can, or until the next end.
  Async<void> enter_again([[maybe_unused]] std::shared_ptr<Impl> self) {
    while (!leaving && !expired) {
      Result<void> done;
      if (controller != nullptr) done = co_await register_now();
      if (done) done = co_await metadata::callback<Result<void>>([this](auto reply) { configs.load(std::move(reply)); });
      if (done) co_return;
      log::error("metadata", "the broker could not come back into the cluster, it tries again: {}", done.error().what);
      co_await tree.pause(1000);
    }
  }

  Async<void> go([[maybe_unused]] std::shared_ptr<Impl> self, Task done) {
    // Without a connection nothing of the controller's work can end well: it is cut short.
    if (store.state() != SessionState::kConnected) {
      co_await metadata::callback<bool>([this](UniqueFunction<void(bool)> reply) { store.close([reply = std::move(reply)]() mutable { reply(true); }); });
    }
    if (controller != nullptr) {
      co_await metadata::callback<bool>([this](UniqueFunction<void(bool)> reply) {
        controller->stop([&runs_on = executor, reply = std::move(reply)]() mutable {
          runs_on.post([reply = std::move(reply)]() mutable { reply(true); });
        });
      });
    }
    co_await metadata::callback<bool>([this](UniqueFunction<void(bool)> reply) { store.close([reply = std::move(reply)]() mutable { reply(true); }); });
    done();
  }

  base::Runtime& runtime;
  base::Executor& executor;
  metadata::Store& store;
  metadata::ConfigStore& configs;
  metadata::TreeClient tree;

  std::string known_cluster_id;
  bool opened = false;
  UniqueFunction<void(Result<void>)> opening;
  UniqueFunction<void(Result<Connected>)> connecting;
  metadata::BrokerInfo info;
  Controller* controller = nullptr;  // from join() on
  JoinOptions options;
  std::function<void(int64_t)> on_epoch;
  int64_t registered_session = 0;
  int64_t former_session = 0;
  bool expired = false;
  bool leaving = false;
  std::atomic<int64_t> connects{0}, disconnects{0}, expirations{0};
};

Membership::Membership(base::Runtime& runtime, base::Executor& metadata, metadata::Store& store, metadata::ConfigStore& configs)
    : impl_(std::make_shared<Impl>(runtime, metadata, store, configs)) {}
Membership::~Membership() = default;

void Membership::connect(std::string known_cluster_id, UniqueFunction<void(Result<Connected>)> done) {
  impl_->executor.post([impl = impl_, known_cluster_id = std::move(known_cluster_id), done = std::move(done)]() mutable {
    impl->known_cluster_id = std::move(known_cluster_id);
    impl->connecting = std::move(done);
    if (impl->opened && impl->store.state() == SessionState::kConnected) {
      metadata::spawn(impl->enter(impl));
    } else {
      impl->open();
    }
  });
}

void Membership::open_session(UniqueFunction<void(Result<void>)> done) {
  impl_->executor.post([impl = impl_, done = std::move(done)]() mutable {
    impl->opening = std::move(done);
    impl->open();
  });
}

void Membership::join(metadata::BrokerInfo info, Controller& controller, JoinOptions options, std::function<void(int64_t)> on_epoch,
                      UniqueFunction<void(Result<void>)> done) {
  impl_->executor.post([impl = impl_, info = std::move(info), &controller, options, on_epoch = std::move(on_epoch), done = std::move(done)]() mutable {
    impl->info = std::move(info);
    impl->controller = &controller;
    impl->options = options;
    impl->on_epoch = std::move(on_epoch);
    metadata::spawn(impl->first_registration(impl, std::move(done)));
  });
}

Membership::Counts Membership::counts() const {
  return {impl_->connects.load(std::memory_order_relaxed), impl_->disconnects.load(std::memory_order_relaxed),
          impl_->expirations.load(std::memory_order_relaxed)};
}

void Membership::leave(Task done) {
  impl_->executor.post([impl = impl_, done = std::move(done)]() mutable {
    impl->leaving = true;
    metadata::spawn(impl->go(impl, std::move(done)));
  });
}

}  // namespace odradek::controller
