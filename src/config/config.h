// The broker's configuration. BrokerConfig is an immutable snapshot of all layers; ConfigHolder has the newest one and takes
// dynamic changes. The keys stand in broker_keys.h.
// Precedence: dynamic of this broker > dynamic default of the cluster > server.properties and --override > default.
// Where several keys say one thing (log.retention.ms, .minutes, .hours) the first one that is set in this order counts.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "config/config_key.h"
#include "config/properties.h"
#include "model/types.h"

namespace odradek::config {

// DescribeConfigs' source codes.
enum class Source : int8_t {
  kUnknown = 0, kTopic = 1, kDynamicBroker = 2, kDynamicDefaultBroker = 3, kStaticBroker = 4, kDefault = 5, kBrokerLogger = 6,
};

struct Synonym {
  std::string name;
  std::optional<std::string> value;  // null: sensitive or unset
  Source source = Source::kUnknown;
};

// One answer row of DescribeConfigs.
struct DescribedConfig {
  std::string name;
  std::optional<std::string> value;  // null: sensitive or unset
  bool read_only = false;
  bool is_sensitive = false;
  Source source = Source::kDefault;
  Type type = Type::kUnknown;
  std::string_view documentation;
  std::vector<Synonym> synonyms;  // strongest first
};

// One element of `listeners` or `advertised.listeners`.
struct ListenerEndpoint {
  std::string name;  // as written, upper case
  SecurityProtocol protocol = SecurityProtocol::kPlaintext;
  std::string host;  // "" in listeners: all addresses; "" in advertised listeners: the local address of the accepted socket
  int32_t port = 0;  // 0: the system chooses; in advertised listeners: the port that was bound
};

class BrokerConfig {
 public:
  // Checks every value and every rule between keys; refuses what must not be silent.
  // Errors: kInvalidConfig with one line: what, why, what to do.
  static Result<std::shared_ptr<const BrokerConfig>> make(Properties static_values, Properties dynamic_default = {},
                                                          Properties dynamic_broker = {});
  // All defaults, for tests.
  static std::shared_ptr<const BrokerConfig> defaults();

  // The value in force. CHECKs that the key is in the table and of that type; null is 0, false, "" or {}: ask is_null first
  // where null means something else.
  bool get_bool(std::string_view name) const;
  int32_t get_int(std::string_view name) const;   // kInt, kShort
  int64_t get_long(std::string_view name) const;  // kLong, kInt, kShort
  double get_double(std::string_view name) const;
  const std::string& get_string(std::string_view name) const;  // kString, kClass, kPassword
  const std::vector<std::string>& get_list(std::string_view name) const;
  bool is_null(std::string_view name) const;
  // True if some layer sets it.
  bool is_set(std::string_view name) const;
  // The value of listener.name.<listener>.<name> if set, else that of `name`. Listener names in any case.
  int64_t get_long_for_listener(std::string_view listener, std::string_view name) const;

  // What several keys say together.
  BrokerId broker_id() const;                                   // broker.id or node.id; -1: to be generated
  std::vector<std::string> log_dirs() const;                    // log.dirs, else log.dir; never empty
  std::string metadata_log_dir() const;                         // metadata.log.dir, else the first log dir
  const std::vector<ListenerEndpoint>& listeners() const { return listeners_; }
  const std::vector<ListenerEndpoint>& advertised_listeners() const { return advertised_listeners_; }
  const std::string& inter_broker_listener() const { return inter_broker_listener_; }
  // control.plane.listener.name; empty: the controller uses the inter-broker listener.
  const std::string& control_plane_listener() const { return control_plane_listener_; }
  int64_t queued_max_request_bytes() const;                     // -1 resolved: max(256 MiB, 1/8 of RAM)
  std::map<std::string, int32_t> max_connections_per_ip_overrides() const;

  // The layers, as set (no defaults).
  const Properties& static_values() const { return static_; }
  const Properties& dynamic_default() const { return dynamic_default_; }
  const Properties& dynamic_broker() const { return dynamic_broker_; }

  // Rows for DescribeConfigs of this broker, in name order: every key of the table that is not internal, and what is set beside it.
  std::vector<DescribedConfig> describe() const;
  // Rows of the cluster-wide default.
  std::vector<DescribedConfig> describe_dynamic_default() const;
  // All places where `name` (a broker key or one that means the same) has a value, strongest first, defaults at the end.
  std::vector<Synonym> synonyms(std::string_view name, bool is_sensitive) const;

  // Keys that are set and unknown, or known and without meaning here: one line each, for the log at start.
  std::vector<std::string> warnings() const;

 private:
  BrokerConfig() = default;
  const Value& value(std::string_view name) const;
  Result<void> resolve();
  Result<void> resolve_listeners();
  Result<void> check_rules() const;
  Result<void> refuse_what_is_not_served() const;

  Properties static_, dynamic_default_, dynamic_broker_;
  Properties merged_;          // what is set, strongest layer only
  std::vector<Value> values_;  // one per row of the table
  std::vector<ListenerEndpoint> listeners_, advertised_listeners_;
  std::string inter_broker_listener_, control_plane_listener_;
};

// server.properties (Java's .properties syntax, see properties.h) with `key=value` overrides on top.
// Errors: the file cannot be read or has a malformed line or override; all of BrokerConfig::make.
Result<std::shared_ptr<const BrokerConfig>> load_broker_config(const std::optional<std::string>& file_content,
                                                               std::span<const std::string> overrides);

// Null: not a key of the table.
const ConfigKey* find_broker_key(std::string_view name);
// Also the keys that exist only as dynamic ones, and `listener.name.<listener>.<key>`: the row of <key>.
const ConfigKey* find_any_broker_key(std::string_view name);
// The parts of `listener.name.<listener>.<key>`; empty key: not of that form.
struct ListenerScoped {
  std::string_view listener, key;
};
ListenerScoped split_listener_scoped(std::string_view name);

// Which set of dynamic broker configs.
enum class DynamicScope : int8_t { kThisBroker, kClusterDefault };

// Whether `values` may become the whole dynamic set of `scope`: names known and dynamic there, values legal, rules between keys.
// Errors: kInvalidRequest / kInvalidConfig as Kafka's.
Result<void> validate_dynamic(const BrokerConfig& current, DynamicScope scope, const Properties& values);

// Holds the newest snapshot. Thread: any; subscribers run on the thread of the change, one change at a time.
class ConfigHolder {
 public:
  using Subscriber = std::function<void(const BrokerConfig& before, const BrokerConfig& now)>;

  explicit ConfigHolder(std::shared_ptr<const BrokerConfig> config) : current_(std::move(config)) {}
  // Shared: a reader keeps its snapshot while a newer one is published.
  std::shared_ptr<const BrokerConfig> current() const;
  // Called after each change, in order of subscription. For the life of the holder.
  void subscribe(Subscriber subscriber);
  // The whole dynamic set of one scope, as read from the store. What is not legal is left out and named in the log, so that a
  // bad entry never keeps a broker from running.
  void apply_dynamic(DynamicScope scope, const Properties& values);

 private:
  mutable base::Mutex mutex_;
  base::Mutex change_mutex_;  // one change and its subscribers at a time; taken before mutex_
  std::shared_ptr<const BrokerConfig> current_ GUARDED_BY(mutex_);
  std::vector<Subscriber> subscribers_ GUARDED_BY(change_mutex_);
};

// docs/config.md, printed from the tables.
std::string reference_markdown();

}  // namespace odradek::config
