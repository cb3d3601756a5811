// What stops the start: features that are not served and must not be silently absent, and rules between keys.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "config/broker_keys.h"
#include "config/config.h"
#include "model/error_code.h"

namespace odradek::config {
namespace {

tl::unexpected<Error> refuse(std::string_view name, std::string_view value, std::string_view note) {
  return fail(ErrorCode::kInvalidConfig, fmt::format("{}={} is refused: {}", name, value, note));
}
tl::unexpected<Error> broken(std::string what) { return fail(ErrorCode::kInvalidConfig, std::move(what)); }

bool is_refused(const ConfigKey& key, const Value& value) {
  switch (key.refused_if) {
    case RefusedIf::kSet: return !value.text.empty();
    case RefusedIf::kTrue: return value.boolean;
    case RefusedIf::kNotDefault: return value.text != (key.default_value ? key.default_value : "");
    case RefusedIf::kNever:
    case RefusedIf::kChecked: return false;
  }
  return false;
}

}  // namespace

Result<void> BrokerConfig::refuse_what_is_not_served() const {
  for (size_t i = 0; i < kBrokerKeys.size(); ++i) {
    if (is_refused(kBrokerKeys[i], values_[i])) return refuse(kBrokerKeys[i].name, values_[i].text, kBrokerKeys[i].note);
  }
  for (const auto& [name, text] : merged_) {
    const ConfigKey* key = find_broker_key(name) ? nullptr : find_any_broker_key(name);
    if (!key) continue;
    auto value = parse_value(*key, text);
    if (value && is_refused(*key, *value)) return refuse(name, value->text, key->note);
  }
  // As it stands it would be taken for the value: a folder of that name for a log dir.
  if (auto providers = static_.find("config.providers"); providers != static_.end()) {
    for (const std::string& provider : split_csv(providers->second)) {
      for (const auto& [name, text] : static_) {
        if (text.find("${" + provider + ":") == std::string::npos) continue;
        return refuse(name, text, fmt::format("the config provider {} has no such value, or no class (config.providers.{}.class)", provider, provider));
      }
    }
  }
  for (const ListenerEndpoint& listener : listeners_) {
    if (listener.protocol == SecurityProtocol::kPlaintext) continue;
    return fail(ErrorCode::kInvalidConfig,
                fmt::format("listener {} ({}) is refused: only PLAINTEXT listeners are served yet, and its clients must not be served without "
                            "encryption or authentication: remove it from listeners, or keep this broker on Apache Kafka",
                            listener.name, name_of(listener.protocol)));
  }
  // A KRaft file of one combined node describes what this broker is: a cluster of one.
  const auto& roles = get_list("process.roles");
  auto has = [&](std::string_view role) { return std::find(roles.begin(), roles.end(), role) != roles.end(); };
  if (!roles.empty() && !(has("broker") && has("controller"))) {
    return refuse("process.roles", value("process.roles").text, find_broker_key("process.roles")->note);
  }
  const auto& voters = get_list("controller.quorum.voters");
  for (const std::string& voter : voters) {
    std::string_view id = std::string_view(voter).substr(0, voter.find('@'));
    if (voters.size() > 1 || roles.empty() || id != std::to_string(broker_id().value)) {
      return refuse("controller.quorum.voters", value("controller.quorum.voters").text, find_broker_key("controller.quorum.voters")->note);
    }
  }
  const auto& servers = get_list("controller.quorum.bootstrap.servers");
  if (servers.size() > 1 || (!servers.empty() && roles.empty())) {
    return refuse("controller.quorum.bootstrap.servers", value("controller.quorum.bootstrap.servers").text,
                  find_broker_key("controller.quorum.bootstrap.servers")->note);
  }
  return {};
}

Result<void> BrokerConfig::check_rules() const {
  int32_t id = broker_id().value;
  if (is_set("broker.id") && is_set("node.id") && value("broker.id").integer != value("node.id").integer) {
    return broken(fmt::format("broker.id={} and node.id={} must be the same", value("broker.id").integer, value("node.id").integer));
  }
  if (get_bool("broker.id.generation.enable") && get_list("process.roles").empty()) {
    if (id < -1 || id > get_int("reserved.broker.max.id")) {
      return broken(fmt::format("broker.id={}: it must be from -1 to reserved.broker.max.id ({}) while broker.id.generation.enable is true", id,
                                get_int("reserved.broker.max.id")));
    }
  } else if (id < 0) {
    return broken(fmt::format("broker.id={}: it must be set, and not below 0, where ids are not generated", id));
  }
  if (!is_null("zookeeper.connect") && !get_string("zookeeper.connect").empty() && !get_list("process.roles").empty()) {
    return broken("zookeeper.connect and process.roles are both set: the first keeps the metadata in ZooKeeper, the second on this node; remove one");
  }
  if (get_int("zookeeper.session.timeout.ms") < 1) return broken("zookeeper.session.timeout.ms must be at least 1");
  if (log_dirs().empty()) return broken("At least one log directory must be defined via log.dirs or log.dir.");
  if (!is_null("log.roll.ms") && get_long("log.roll.ms") < 1) return broken("log.roll.ms must be greater than or equal to 1");
  if (!is_null("log.roll.jitter.ms") && get_long("log.roll.jitter.ms") < 0) return broken("log.roll.jitter.ms must be greater than or equal to 0");
  for (std::string_view name : {"log.retention.ms", "log.retention.minutes", "log.retention.hours"}) {
    if (!is_null(name) && get_long(name) == 0) return broken(fmt::format("{} must be unlimited (-1) or, greater than or equal to 1", name));
  }
  if (!is_null("log.flush.interval.ms") && get_long("log.flush.interval.ms") < 0) return broken("log.flush.interval.ms must be greater than or equal to 0");
  if (get_long("log.local.retention.bytes") != -2 && get_long("log.retention.bytes") != -1 &&
      (get_long("log.local.retention.bytes") == -1 || get_long("log.local.retention.bytes") > get_long("log.retention.bytes"))) {
    return broken(fmt::format("Invalid value {} for configuration log.local.retention.bytes: Value must not be more than log.retention.bytes "
                              "property value: {}", get_long("log.local.retention.bytes"), get_long("log.retention.bytes")));
  }
  if (get_bool("log.cleaner.enable")) {
    // Nothing would ever be compacted, and nobody told. Kafka divides by it and does not start.
    if (get_int("log.cleaner.threads") < 1) return broken("log.cleaner.threads must be at least 1 while log.cleaner.enable is true");
    if (get_long("log.cleaner.dedupe.buffer.size") / get_int("log.cleaner.threads") <= 1024 * 1024) {
      return broken("log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.");
    }
  }
  if (get_int("replica.fetch.wait.max.ms") > get_int("replica.socket.timeout.ms")) {
    return broken("replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts");
  }
  if (get_int("replica.fetch.wait.max.ms") > get_long("replica.lag.time.max.ms")) {
    return broken("replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR");
  }
  if (int32_t acks = get_int("offsets.commit.required.acks"); acks < -1 || acks > get_int("offsets.topic.replication.factor")) {
    return broken("offsets.commit.required.acks must be greater or equal -1 and less or equal to offsets.topic.replication.factor");
  }
  if (int32_t codec = get_int("offsets.topic.compression.codec"); codec < 0 || codec > 4) {
    return broken(fmt::format("Invalid value {} for configuration offsets.topic.compression.codec: it must be from 0 to 4", codec));
  }
  if (int64_t bytes = get_long("queued.max.request.bytes"); bytes > 0 && bytes < get_int("socket.request.max.bytes")) {
    return broken("queued.max.request.bytes must be larger or equal to socket.request.max.bytes");
  }
  if (get_int("connection.failed.authentication.delay.ms") >= get_long("connections.max.idle.ms") && get_long("connections.max.idle.ms") > 0) {
    return broken("connection.failed.authentication.delay.ms must be smaller than connections.max.idle.ms");
  }
  for (const std::string& element : split_csv(get_string("max.connections.per.ip.overrides"))) {
    size_t colon = element.rfind(':');
    int32_t limit = -1;
    const char* end = element.data() + element.size();
    if (colon == std::string::npos || colon == 0 || std::from_chars(element.data() + colon + 1, end, limit).ptr != end || limit < 0) {
      return broken(fmt::format("Invalid value {} for configuration max.connections.per.ip.overrides: expected address:number", element));
    }
  }
  if (get_int("max.connections.per.ip") == 0 && get_string("max.connections.per.ip.overrides").empty()) {
    return broken("max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.");
  }
  if (get_int("group.min.session.timeout.ms") > get_int("group.max.session.timeout.ms")) {
    return broken("group.min.session.timeout.ms must not be greater than group.max.session.timeout.ms");
  }
  for (std::string_view name : {"socket.send.buffer.bytes", "socket.receive.buffer.bytes"}) {
    if (int32_t bytes = get_int(name); bytes != -1 && bytes <= 0) {
      return broken(fmt::format("Invalid value {} for configuration {}: it must be -1 or greater than 0", bytes, name));
    }
  }
  return {};
}

}  // namespace odradek::config
