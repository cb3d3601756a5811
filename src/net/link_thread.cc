#include "net/link_thread.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/check.h"
#include "base/thread.h"

namespace odradek::net {

LinkThread::LinkThread(const std::string& name) : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(make_event_descriptor()) {
  CHECK(epoll_.get() >= 0);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = 0;
  CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
  thread_ = base::start_thread(name, [this] { run(); });
}

LinkThread::~LinkThread() {
  stopping_.store(true, std::memory_order_release);
  signal_event(wake_.get());
  thread_.join();
}

void LinkThread::watch(const LinkState& link, int socket, bool writable) {
  epoll_event event{};
  event.events = EPOLLIN | (writable ? EPOLLOUT : 0u);
  event.data.u64 = link.id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket, &event);
}

void LinkThread::command(Command one) {
  {
    base::MutexLock lock(mutex_);
    commands_.push_back(std::move(one));
  }
  signal_event(wake_.get());
}

void LinkThread::run() {
  std::vector<epoll_event> events(64);
  while (!stopping_.load(std::memory_order_acquire)) {
    int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      auto found = links_.find(event.data.u64);
      if (found == links_.end()) continue;
      LinkPtr link = found->second;
      if (!handle(*link, event.events)) remove(*link);
    }
    std::vector<Command> commands;
    {
      base::MutexLock lock(mutex_);
      commands.swap(commands_);
    }
    for (Command& one : commands) {
      if (one.close) {
        remove(*one.link);
      } else {
        one.link->addresses = std::move(one.addresses);
        dial_next(one.link);
      }
    }
  }
  for (auto& [id, link] : links_) {
    base::MutexLock lock(link->mutex);
    link->socket.reset();
  }
}

void LinkThread::remove(LinkState& link) {
  base::MutexLock lock(link.mutex);
  link.socket.reset();  // leaves epoll by that
  links_.erase(link.id);
}

void LinkThread::dial_next(const LinkPtr& link) {
  int error = 0;
  while (link->next_address < link->addresses.size()) {
    const SocketAddress& address = link->addresses[link->next_address++];
    Descriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket.get() < 0) {
      error = errno;
      continue;
    }
    int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    const LinkOptions& options = link->options;
    if (options.send_buffer_bytes >= 0) ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &options.send_buffer_bytes, sizeof(int));
    if (options.receive_buffer_bytes >= 0) ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &options.receive_buffer_bytes, sizeof(int));
    if (::connect(socket.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) {
      error = errno;
      continue;
    }
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT;
    event.data.u64 = link->id;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0) {
      error = errno;
      continue;
    }
    base::MutexLock lock(link->mutex);
    if (link->broken) return;  // given up meanwhile
    link->socket = std::move(socket);
    links_[link->id] = link;
    return;
  }
  link->fail_all(link->network_failure(error));
}

bool LinkThread::handle(LinkState& link, uint32_t events) {
  bool connected;
  int descriptor;
  {
    base::MutexLock lock(link.mutex);
    if (link.broken) return false;
    connected = link.connected;
    descriptor = link.socket.get();
  }
  if (!connected) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      if (link.next_address >= link.addresses.size()) {
        link.fail_all(link.network_failure(error));
        return false;
      }
      LinkPtr again = link.shared_from_this();
      remove(link);
      dial_next(again);
      return true;
    }
    if ((events & EPOLLOUT) == 0) return true;
    return link.on_connected();
  }
  if ((events & EPOLLOUT) != 0 && !link.on_writable()) return false;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) return link.on_readable(descriptor, scratch_);
  return true;
}

}  // namespace odradek::net
