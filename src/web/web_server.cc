#include "web/web_server.h"

// The packaged library is built with these, and the layout of its types depends on them.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <condition_variable>

#include "base/log.h"
#include "base/mutex.h"
#include "model/error_code.h"

namespace odradek::web {
namespace {

// Runs the library's connection tasks on an executor. A task owns its socket, so none is dropped: while too many wait, enqueue()
// blocks the accepting thread, and the kernel's backlog holds the rest.
class BoundedQueue final : public httplib::TaskQueue {
 public:
  BoundedQueue(base::Executor& workers, int limit) : workers_(workers), limit_(limit) {}

  void enqueue(std::function<void()> task) override {
    {
      base::MutexLock lock(mutex_);
      while (open_ >= limit_) lock.wait(changed_);
      ++open_;
    }
    workers_.post([this, task = std::move(task)] {
      task();
      base::MutexLock lock(mutex_);
      --open_;
      changed_.notify_all();
    });
  }
  void shutdown() override {
    base::MutexLock lock(mutex_);
    while (open_ > 0) lock.wait(changed_);
  }

 private:
  base::Executor& workers_;
  const int limit_;
  base::Mutex mutex_;
  std::condition_variable changed_;
  int open_ GUARDED_BY(mutex_) = 0;
};

class Listener final : public httplib::Server {
 public:
  int bound_port() const {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getsockname(svr_sock_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
    return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port : reinterpret_cast<sockaddr_in&>(address).sin_port);
  }
  // Ends accept(), whether or not it has begun: the library's own stop() does nothing before.
  void end_accept() { ::shutdown(svr_sock_, SHUT_RDWR); }
};

std::string readiness_json(const std::vector<std::string>& reasons) {
  nlohmann::json json{{"ready", reasons.empty()}, {"reasons", reasons}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

constexpr const char* kJson = "application/json";
constexpr std::string_view kIndex = "odradek\n\n/metrics\n/health/live\n/health/ready\n";

}  // namespace

struct WebServer::Impl {
  ~Impl() { stop(); }
  void stop() {
    if (!acceptor) return;
    listener.end_accept();
    acceptor.reset();  // waits until the library has given back every connection
  }

  Listener listener;
  int port = 0;
  std::unique_ptr<base::Executor> workers;
  std::unique_ptr<base::Executor> acceptor;
};

WebServer::WebServer() : impl_(std::make_unique<Impl>()) {}
WebServer::~WebServer() = default;
int WebServer::port() const { return impl_->port; }
void WebServer::stop() { impl_->stop(); }

Result<std::optional<WebOptions>> web_options(const config::BrokerConfig& config) {
  std::string_view text = config.get_string("metrics.listener");
  if (text.empty()) return std::optional<WebOptions>();
  WebOptions options;
  options.configured = config.is_set("metrics.listener");
  size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon), port = colon == text.npos ? "" : text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), options.port);
  if (error != std::errc{} || end != port.data() + port.size() || options.port < 0 || options.port > 65535) {
    return fail(ErrorCode::kInvalidConfig, fmt::format("Invalid value {} for configuration metrics.listener: expected host:port", text));
  }
  options.host = host.empty() ? "0.0.0.0" : host;
  return options;
}

Result<std::unique_ptr<WebServer>> WebServer::start(base::Runtime& runtime, const WebOptions& options, metrics::Registry& registry, ReadinessCheck ready) {
  std::unique_ptr<WebServer> server(new WebServer());
  Impl& impl = *server->impl_;
  Listener& listener = impl.listener;
  // The library's default would share the port with whoever listens on it already.
  listener.set_socket_options([](socket_t socket) {
    int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  listener.set_keep_alive_max_count(1);
  listener.set_read_timeout(5);
  listener.set_write_timeout(5);
  listener.set_payload_max_length(4096);
  listener.Get("/metrics", [&registry](const httplib::Request&, httplib::Response& response) {
    response.set_content(registry.prometheus_text(), "text/plain; version=0.0.4; charset=utf-8");
  });
  listener.Get("/health/live", [](const httplib::Request&, httplib::Response& response) { response.set_content("{\"live\":true}\n", kJson); });
  listener.Get("/health/ready", [ready = std::move(ready)](const httplib::Request&, httplib::Response& response) {
    auto reasons = ready();
    response.status = reasons.empty() ? 200 : 503;
    response.set_content(readiness_json(reasons), kJson);
  });
  listener.Get("/", [](const httplib::Request&, httplib::Response& response) { response.set_content(kIndex.data(), kIndex.size(), "text/plain"); });

  bool bound = options.port == 0 ? listener.bind_to_any_port(options.host) > 0 : listener.bind_to_port(options.host, options.port);
  if (!bound) {
    std::string where = fmt::format("{}:{}", options.host, options.port);
    if (options.configured) {
      return fail(ErrorCode::kInvalidConfig, fmt::format("metrics.listener={}: cannot listen there; choose a free port, or leave metrics.listener empty", where));
    }
    log::warn("web", "no metrics: {} is taken; set metrics.listener to another address", where);
    return server;
  }
  impl.port = listener.bound_port();
  impl.workers = runtime.make_executor("web", options.threads);
  impl.acceptor = runtime.make_executor("web-accept", 1);
  base::Executor* workers = impl.workers.get();
  listener.new_task_queue = [workers, limit = options.threads + options.waiting_connections] { return new BoundedQueue(*workers, limit); };
  impl.acceptor->post([&listener] { listener.listen_after_bind(); });
  log::info("web", "metrics on http://{}:{}/metrics", options.host, impl.port);
  return server;
}

}  // namespace odradek::web
