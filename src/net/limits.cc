#include "net/limits.h"

#include <algorithm>

#include "base/log.h"
#include "net/resolve.h"
#include "net/socket.h"

namespace odradek::net {
namespace {

std::map<std::string, int> by_address(const std::map<std::string, int>& overrides) {
  std::map<std::string, int> limits;
  for (const auto& [host, max] : overrides) {
    auto found = resolve(host, 0);
    if (!found) {
      log::error("net", "max.connections.per.ip.overrides: the limit of {} is not in force: {}", host, found.error().what);
      continue;
    }
    for (const SocketAddress& address : *found) limits.insert_or_assign(address_of(address.storage).host, max);
  }
  return limits;
}

}  // namespace

void RateLimit::set_rate(int rate) {
  rate_ = rate == kUnlimited ? 0 : std::max(rate, 1);
  tokens_ = rate_;
}

int64_t RateLimit::wait_ns(int64_t now_ns) {
  if (rate_ <= 0) return 0;
  if (filled_at_ns_ != 0) tokens_ = std::min(rate_, tokens_ + rate_ * static_cast<double>(now_ns - filled_at_ns_) / 1e9);
  filled_at_ns_ = now_ns;
  return tokens_ >= 1 ? 0 : std::max<int64_t>(1, static_cast<int64_t>((1 - tokens_) / rate_ * 1e9) + 1);
}

void RateLimit::take() {
  if (rate_ > 0) tokens_ -= 1;
}

ConnectionLimits::ConnectionLimits(const ReactorOptions& options)
    : max_(options.max_connections),
      max_per_ip_(options.max_connections_per_ip),
      overrides_(by_address(options.max_connections_per_ip_overrides)),
      rate_(options.max_connection_creation_rate) {}

bool ConnectionLimits::open(const std::string& peer_host) {
  base::MutexLock lock(mutex_);
  auto override = overrides_.find(peer_host);
  int max = override != overrides_.end() ? override->second : max_per_ip_;
  int& count = per_ip_[peer_host];
  if (count >= max) {
    if (count == 0) per_ip_.erase(peer_host);
    return false;
  }
  ++count;
  open_.fetch_add(1, std::memory_order_seq_cst);
  return true;
}

void ConnectionLimits::close(const std::string& peer_host) {
  base::MutexLock lock(mutex_);
  auto found = per_ip_.find(peer_host);
  if (found != per_ip_.end() && --found->second == 0) per_ip_.erase(found);
  open_.fetch_sub(1, std::memory_order_seq_cst);
}

void ConnectionLimits::set_max_per_ip(int max, const std::map<std::string, int>& overrides) {
  auto limits = by_address(overrides);
  base::MutexLock lock(mutex_);
  max_per_ip_ = max;
  overrides_ = std::move(limits);
}

int64_t ConnectionLimits::creation_wait_ns(int64_t now_ns) {
  base::MutexLock lock(mutex_);
  return rate_.wait_ns(now_ns);
}

void ConnectionLimits::take_creation() {
  base::MutexLock lock(mutex_);
  rate_.take();
}

void ConnectionLimits::set_creation_rate(int rate) {
  base::MutexLock lock(mutex_);
  rate_.set_rate(rate);
}

}  // namespace odradek::net
