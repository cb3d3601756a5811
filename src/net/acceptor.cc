#include "net/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/thread.h"

namespace odradek::net {
namespace {

constexpr int64_t kFileBackOffNs = 100'000'000;
constexpr int64_t kFilesToldEveryNs = 10'000'000'000;

}  // namespace

Acceptor::Acceptor(ReactorShared& shared, ListenerShared& listener, Descriptor listening, std::function<bool(const NewSocket&)> deal)
    : shared_(shared),
      listener_(listener),
      listening_(std::move(listening)),
      port_(local_address(listening_.get()).port),
      deal_(std::move(deal)),
      event_(make_event_descriptor()),
      rate_(listener.options.max_connection_creation_rate) {}

Acceptor::~Acceptor() { stop(); }

void Acceptor::start() {
  thread_ = base::start_thread("acceptor-" + listener_.options.name, [this] { run(); });
}

void Acceptor::stop() {
  stopping_.store(true, std::memory_order_seq_cst);
  signal_event(event_.get());
  if (thread_.joinable()) thread_.join();
  listening_.reset();
  if (pending_.socket >= 0) {
    ::close(pending_.socket);
    shared_.limits.close(pending_.peer.host);
    listener_.connections.fetch_sub(1, std::memory_order_seq_cst);
    pending_.socket = -1;
  }
}

void Acceptor::wake() {
  // Sequentially consistent: meets "set waiting_, look again" in run().
  if (waiting_.load(std::memory_order_seq_cst) && waiting_.exchange(false, std::memory_order_seq_cst)) signal_event(event_.get());
}

void Acceptor::set_creation_rate(int rate) {
  {
    base::MutexLock lock(mutex_);
    rate_.set_rate(rate);
  }
  signal_event(event_.get());
}

int64_t Acceptor::must_wait() {
  if (pending_.socket >= 0) {
    if (!deal_(pending_)) return -1;
    pending_.socket = -1;
  }
  if (listener_.connections.load(std::memory_order_seq_cst) >= listener_.max_connections.load(std::memory_order_seq_cst)) return -1;
  if (!listener_.options.inter_broker && !shared_.limits.has_room()) return -1;
  int64_t now_ns = shared_.clock.monotonic_ns();
  int64_t wait_ns = listener_.options.inter_broker ? 0 : shared_.limits.creation_wait_ns(now_ns);
  base::MutexLock lock(mutex_);
  return std::max(wait_ns, rate_.wait_ns(now_ns));
}

void Acceptor::run() {
  while (!stopping_.load(std::memory_order_seq_cst)) {
    int64_t wait_ns = must_wait();
    if (wait_ns == -1) {
      waiting_.store(true, std::memory_order_seq_cst);
      wait_ns = must_wait();
    }
    if (wait_ns == 0) {
      waiting_.store(false, std::memory_order_relaxed);
      if (accept_one()) continue;
    }
    bool blocked = wait_ns != 0 || out_of_files_;
    if (out_of_files_) wait_ns = kFileBackOffNs;
    out_of_files_ = false;
    if (blocked) blocked_.begin(shared_.clock.monotonic_ns());
    pollfd wanted[2] = {{event_.get(), POLLIN, 0}, {listening_.get(), POLLIN, 0}};
    timespec limit{wait_ns / 1'000'000'000, wait_ns % 1'000'000'000};
    (void)::ppoll(wanted, blocked ? 1 : 2, blocked && wait_ns > 0 ? &limit : nullptr, nullptr);
    if (blocked) blocked_.end(shared_.clock.monotonic_ns());
    if ((wanted[0].revents & POLLIN) != 0) {
      uint64_t count;
      (void)!::read(event_.get(), &count, sizeof count);
    }
  }
}

void Acceptor::on_no_files(const std::string& what) {
  out_of_files_ = true;
  const int64_t now_ns = shared_.clock.monotonic_ns();
  if (files_told_ns_ != 0 && now_ns - files_told_ns_ < kFilesToldEveryNs) return;
  files_told_ns_ = now_ns;
  log::error("net", "{}: {}", listener_.options.name, what);
}

// False: nothing to accept now.
bool Acceptor::accept_one() {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  int socket = ::accept4(listening_.get(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      on_no_files(std::string("cannot accept a connection: ") + std::strerror(errno));
      return false;
    }
    return errno != EAGAIN && errno != EWOULDBLOCK;  // others: that one connection has failed
  }
  NewSocket accepted{socket, address_of(address)};
  if (socket >= shared_.max_socket && !listener_.options.inter_broker) {
    ::close(socket);
    on_no_files("connection from " + accepted.peer.host + " closed: the last descriptors are kept for logs and for other brokers; raise the limit of open files");
    return false;
  }
  if (!shared_.limits.open(accepted.peer.host)) {
    listener_.refused.fetch_add(1, std::memory_order_relaxed);
    log::info("net", "{}: connection from {} refused: max.connections.per.ip", listener_.options.name, accepted.peer.host);
    ::close(socket);
    return true;
  }
  if (!listener_.options.inter_broker) shared_.limits.take_creation();
  {
    base::MutexLock lock(mutex_);
    rate_.take();
  }
  listener_.connections.fetch_add(1, std::memory_order_seq_cst);
  listener_.accepted.fetch_add(1, std::memory_order_relaxed);
  int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  // The listening socket's buffer sizes are inherited.
  if (!deal_(accepted)) pending_ = accepted;
  if (listener_.options.inter_broker && shared_.limits.exceeded()) shared_.on_excess();
  return true;
}

}  // namespace odradek::net
