// Changes at run time.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "config/broker_keys.h"
#include "config/config.h"
#include "model/error_code.h"

namespace odradek::config {
namespace {

// What may be set for one listener while the broker runs.
bool is_listener_limit(std::string_view key) {
  return key == "max.connections" || key == "max.connection.creation.rate" || key == "num.network.threads";
}

// Pools that Kafka lets grow to at most twice their size, and shrink to no less than half, at once.
constexpr std::string_view kThreadPools[] = {"background.threads", "num.io.threads", "num.network.threads", "num.recovery.threads.per.data.dir",
                                             "num.replica.fetchers"};

// Key and trust stores: Kafka reads them again for one listener at a time, and takes them only with its prefix.
constexpr std::string_view kStores[] = {"ssl.key.password",         "ssl.keystore.certificate.chain", "ssl.keystore.key",        "ssl.keystore.location",
                                        "ssl.keystore.password",    "ssl.keystore.type",              "ssl.truststore.certificates", "ssl.truststore.location",
                                        "ssl.truststore.password",  "ssl.truststore.type"};

tl::unexpected<Error> refuse(std::string_view why, const std::vector<std::string>& names) {
  return fail(ErrorCode::kInvalidRequest, fmt::format("{}: Set({})", why, fmt::join(names, ", ")));
}

bool is_dynamic(std::string_view name) {
  const ConfigKey* key = find_any_broker_key(name);
  if (!key) return true;  // kept for whoever knows it, as Kafka does
  if (ListenerScoped scoped = split_listener_scoped(name); !scoped.key.empty()) {
    return key->update == Update::kPerBroker || is_listener_limit(scoped.key);
  }
  return key->update != Update::kReadOnly;
}

// Listeners and what secures them: dynamic for a single broker in Kafka.
bool is_per_broker(std::string_view name) {
  const ConfigKey* key = find_any_broker_key(name);
  return key && key->update == Update::kPerBroker;
}

Result<void> check_names(DynamicScope scope, const Properties& values, const Properties& before) {
  std::vector<std::string> fixed, unscoped, per_broker, not_yet;
  for (const auto& [name, text] : values) {
    if (!is_dynamic(name)) {
      fixed.push_back(name);
    } else if (is_per_broker(name)) {
      // Kafka keeps the rest of these for listeners that are made secure later.
      bool for_later = name.starts_with("ssl.") || name.starts_with("sasl.");
      auto old = before.find(name);
      if (std::find(std::begin(kStores), std::end(kStores), name) != std::end(kStores)) unscoped.push_back(name);
      if (scope == DynamicScope::kClusterDefault) per_broker.push_back(name);
      if (!for_later && (old == before.end() || old->second != text)) not_yet.push_back(name);
    }
  }
  if (!fixed.empty()) return refuse("Cannot update these configs dynamically", fixed);
  if (!unscoped.empty()) return refuse("These security configs can be dynamically updated only per-listener using the listener prefix", unscoped);
  if (!per_broker.empty()) return refuse("Cannot update these configs at default cluster level, broker id must be specified", per_broker);
  if (!not_yet.empty()) return refuse("Listeners and their security cannot be changed while this broker runs; set them in server.properties and restart it", not_yet);
  return {};
}

Result<void> check_pools(const BrokerConfig& before, const BrokerConfig& after) {
  for (std::string_view name : kThreadPools) {
    int32_t old = before.get_int(name), now = after.get_int(name);
    if (old == now) continue;
    auto why = [&](std::string_view rule) {
      return fail(ErrorCode::kInvalidRequest, fmt::format("Dynamic thread count update validation failed for {}={}, value should {}", name, now, rule));
    };
    if (now <= 0) return why("be at least 1");
    if (now < old / 2) return why(fmt::format("be at least half the current value {}", old));
    if (now > old * 2) return why(fmt::format("not be greater than double the current value {}", old));
  }
  return {};
}

const Properties& layer(const BrokerConfig& config, DynamicScope scope) {
  return scope == DynamicScope::kThisBroker ? config.dynamic_broker() : config.dynamic_default();
}

Result<std::shared_ptr<const BrokerConfig>> with(const BrokerConfig& config, DynamicScope scope, const Properties& values) {
  bool here = scope == DynamicScope::kThisBroker;
  return BrokerConfig::make(config.static_values(), here ? config.dynamic_default() : values, here ? values : config.dynamic_broker());
}

}  // namespace

Result<void> validate_dynamic(const BrokerConfig& current, DynamicScope scope, const Properties& values) {
  if (auto named = check_names(scope, values, layer(current, scope)); !named) return named;
  auto after = with(current, scope, values);
  if (!after) return fail(ErrorCode::kInvalidRequest, after.error().what);
  // Also when values of this broker cover those of the cluster: they must be legal by themselves.
  if (scope == DynamicScope::kClusterDefault) {
    auto alone = BrokerConfig::make(current.static_values(), values, {});
    if (!alone) return fail(ErrorCode::kInvalidRequest, alone.error().what);
  }
  return check_pools(current, **after);
}

std::shared_ptr<const BrokerConfig> ConfigHolder::current() const {
  base::MutexLock lock(mutex_);
  return current_;
}

void ConfigHolder::subscribe(Subscriber subscriber) {
  base::MutexLock lock(change_mutex_);
  subscribers_.push_back(std::move(subscriber));
}

void ConfigHolder::apply_dynamic(DynamicScope scope, const Properties& values) {
  base::MutexLock change(change_mutex_);
  auto before = current();
  auto after = with(*before, scope, values);
  if (!after || !check_names(scope, values, layer(*before, scope))) {
    // Something in the store is not for this broker: take what is, entry by entry. One may be legal only beside a later one.
    Properties legal, left = values, why;
    for (bool got_on = true; got_on;) {
      got_on = false;
      for (auto at = left.begin(); at != left.end();) {
        Properties trial = legal;
        trial.insert(*at);
        auto named = check_names(scope, trial, layer(*before, scope));
        auto made = with(*before, scope, trial);
        if (named && made) {
          legal = std::move(trial);
          at = left.erase(at);
          got_on = true;
        } else {
          why[at->first] = named ? made.error().what : named.error().what;
          ++at;
        }
      }
    }
    for (const auto& [name, text] : left) log::warn("config", "ignored the stored dynamic config {}: {}", name, why[name]);
    after = with(*before, scope, legal);
    if (!after) {
      log::warn("config", "ignored the stored dynamic configs: {}", after.error().what);
      return;
    }
  }
  if ((*after)->dynamic_broker() == before->dynamic_broker() && (*after)->dynamic_default() == before->dynamic_default()) return;
  {
    base::MutexLock lock(mutex_);
    current_ = *after;
  }
  for (const Subscriber& subscriber : subscribers_) subscriber(*before, **after);
}

}  // namespace odradek::config
