#include "mirror/options.h"

#include <algorithm>
#include <charconv>

#include "model/error_code.h"

namespace odradek::mirror {
namespace {

std::vector<std::string> list_of(const std::string& text) {
  std::vector<std::string> parts;
  std::string part;
  auto close = [&] {
    size_t from = part.find_first_not_of(" \t"), to = part.find_last_not_of(" \t");
    if (from != std::string::npos) parts.push_back(part.substr(from, to - from + 1));
    part.clear();
  };
  int depth = 0;  // commas inside {1,3} and the like belong to the expression
  for (char c : text) {
    if (c == '{' || c == '(' || c == '[') ++depth;
    if (c == '}' || c == ')' || c == ']') --depth;
    if (c == ',' && depth <= 0) {
      close();
    } else {
      part += c;
    }
  }
  close();
  return parts;
}

Result<std::vector<std::regex>> expressions(const std::string& text) {
  std::vector<std::regex> all;
  for (const std::string& part : list_of(text)) {
    try {
      all.emplace_back(part, std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error& error) {
      return fail(ErrorCode::kInvalidConfig, "'" + part + "' is not a regular expression: " + error.what());
    }
  }
  return all;
}

Result<void> read_number(const std::string& key, const std::string& text, int64_t low, int64_t high, auto& to, int64_t scale = 1) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
    return fail(ErrorCode::kInvalidConfig, key + "=" + text + ": expected a number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  to = static_cast<std::remove_reference_t<decltype(to)>>(value * scale);
  return {};
}

Result<void> read_switch(const std::string& key, const std::string& text, bool& to) {
  if (text != "true" && text != "false") return fail(ErrorCode::kInvalidConfig, key + "=" + text + ": expected true or false");
  to = text == "true";
  return {};
}

}  // namespace

Result<Filter> Filter::make(const std::string& include, const std::string& exclude) {
  Filter filter;
  auto wanted = expressions(include), unwanted = expressions(exclude);
  if (!wanted) return fail(std::move(wanted.error()));
  if (!unwanted) return fail(std::move(unwanted.error()));
  filter.include_ = std::move(*wanted);
  filter.exclude_ = std::move(*unwanted);
  return filter;
}

bool Filter::allows(const std::string& name) const {
  auto matches = [&](const std::regex& expression) { return std::regex_match(name, expression); };
  return std::any_of(include_.begin(), include_.end(), matches) && std::none_of(exclude_.begin(), exclude_.end(), matches);
}

const std::vector<MirrorKey>& mirror_keys() {
  static const std::vector<MirrorKey> keys{
      {"name", "mirror", "Name of the mirror; its positions topic on the target is odradek-mirror-<name>-positions"},
      {"instance.id", "", "Name of this process among several of one mirror, of which one works (default: the host's name)"},
      {"source.bootstrap.servers", "", "Brokers of the cluster that is copied, host:port, separated by commas"},
      {"target.bootstrap.servers", "", "Brokers of the cluster that is written"},
      {"topics", ".*", "Topics to copy: regular expressions separated by commas"},
      {"topics.exclude", "__.*,odradek-mirror-.*,mm2.*\\.internal", "Topics not to copy"},
      {"start", "earliest", "Where a partition that was never copied begins: earliest, latest, or after:<name>, behind the records that the mirror of "
                            "that name brought to the source (fail-back)"},
      {"isolation.level", "read_committed", "read_committed: records of aborted or open transactions are left out; read_uncommitted: all are copied"},
      {"replication.factor", "-1", "Replicas of topics made on the target (-1: the target's default)"},
      {"delete.topics", "false", "Delete a topic on the target that this mirror copied and that is gone from the source"},
      {"refresh.topics.interval.seconds", "10", "How often new topics and partitions are looked for"},
      {"sync.topic.configs.enabled", "true", "Follow the configs of topics"},
      {"sync.topic.configs.interval.seconds", "60", "How often"},
      {"config.properties.exclude",
       "follower\\.replication\\.throttled\\.replicas,leader\\.replication\\.throttled\\.replicas,message\\.timestamp\\.difference\\.max\\.ms,"
       "message\\.timestamp\\.type,message\\.format\\.version,unclean\\.leader\\.election\\.enable,min\\.insync\\.replicas",
       "Topic configs that are not followed"},
      {"sync.group.offsets.enabled", "true", "Write the offsets of groups, translated, to the target"},
      {"sync.group.offsets.interval.seconds", "10", "How often"},
      {"groups", ".*", "Groups whose offsets are copied"},
      {"groups.exclude", "console-consumer-.*,connect-.*,__.*,odradek-mirror-.*", "Groups whose offsets are not copied"},
      {"fetch.connections", "4", "Connections to each source broker that fetch ranges ahead; one more polls"},
      {"fetch.range.bytes", "4194304", "About so much is asked for at once"},
      {"fetch.max.wait.ms", "500", "How long a broker holds a fetch for which it has nothing"},
      {"produce.connections", "2", "Connections to each target broker"},
      {"buffer.memory", "134217728", "Bytes fetched and not yet acknowledged by the target, about"},
      {"request.timeout.ms", "30000", "After so long without an answer a connection is given up"},
      {"session.timeout.ms", "15000", "After so long another instance takes the place of one that is silent"},
      {"checkpoint.interval.ms", "5000", "How often progress is stored for those who ask; nothing depends on it after a crash"},
      {"metrics.listener", "", "host:port for /metrics and /health (default: none)"},
  };
  return keys;
}

Result<MirrorOptions> read_options(const config::Properties& properties) {
  for (const auto& [key, value] : properties) {
    bool known = std::any_of(mirror_keys().begin(), mirror_keys().end(), [&](const MirrorKey& each) { return each.name == key; });
    if (!known) return fail(ErrorCode::kInvalidConfig, "there is no key " + key);
  }
  auto text = [&](std::string_view key) {
    auto found = properties.find(key);
    if (found != properties.end()) return found->second;
    auto row = std::find_if(mirror_keys().begin(), mirror_keys().end(), [&](const MirrorKey& each) { return each.name == key; });
    return std::string(row->default_value);
  };
  MirrorOptions options;
  options.name = text("name");
  if (std::string fault = topic_name_fault(options.positions_topic()); !fault.empty()) return fail(ErrorCode::kInvalidConfig, "name=" + options.name + ": " + fault);
  options.instance = text("instance.id");
  options.source = text("source.bootstrap.servers");
  options.target = text("target.bootstrap.servers");
  options.metrics_listener = text("metrics.listener");
  for (const char* key : {"source.bootstrap.servers", "target.bootstrap.servers"}) {
    if (text(key).empty()) return fail(ErrorCode::kInvalidConfig, std::string(key) + " is missing");
  }
  auto filter = [&](const char* include, const char* exclude, Filter& to) -> Result<void> {
    auto made = Filter::make(*include == 0 ? ".*" : text(include), text(exclude));
    if (!made) return fail(std::move(made.error()));
    to = std::move(*made);
    return {};
  };
  Result<void> done = filter("topics", "topics.exclude", options.topics);
  if (done) done = filter("groups", "groups.exclude", options.groups);
  if (done) done = filter("", "config.properties.exclude", options.config_keys);
  auto number = [&](const char* key, int64_t low, int64_t high, auto& to, int64_t scale = 1) {
    if (done) done = read_number(key, text(key), low, high, to, scale);
  };
  auto flag = [&](const char* key, bool& to) {
    if (done) done = read_switch(key, text(key), to);
  };
  number("replication.factor", -1, 100, options.replication_factor);
  number("refresh.topics.interval.seconds", 1, 86'400, options.refresh_topics_ms, 1000);
  number("sync.topic.configs.interval.seconds", 1, 86'400, options.sync_configs_ms, 1000);
  number("sync.group.offsets.interval.seconds", 1, 86'400, options.sync_groups_ms, 1000);
  number("checkpoint.interval.ms", 100, 86'400'000, options.checkpoint_ms);
  number("fetch.connections", 1, 64, options.fetch_connections);
  number("fetch.range.bytes", 64 << 10, 256 << 20, options.fetch_range_bytes);
  number("fetch.max.wait.ms", 1, 60'000, options.fetch_max_wait_ms);
  number("produce.connections", 1, 64, options.produce_connections);
  number("buffer.memory", 1 << 20, int64_t{1} << 40, options.buffer_bytes);
  number("request.timeout.ms", 1'000, 3'600'000, options.request_timeout_ms);
  number("session.timeout.ms", 6'000, 300'000, options.session_timeout_ms);
  flag("delete.topics", options.delete_topics);
  flag("sync.topic.configs.enabled", options.sync_configs);
  flag("sync.group.offsets.enabled", options.sync_groups);
  if (!done) return fail(std::move(done.error()));
  std::string start = text("start"), isolation = text("isolation.level");
  if (start == "latest") {
    options.start = MirrorOptions::Start::kLatest;
  } else if (start.starts_with("after:") && start.size() > 6) {
    options.start = MirrorOptions::Start::kAfter;
    options.after = start.substr(6);
  } else if (start != "earliest") {
    return fail(ErrorCode::kInvalidConfig, "start=" + start + ": expected earliest, latest or after:<name of a mirror>");
  }
  if (isolation == "read_uncommitted") {
    options.isolation = IsolationLevel::kReadUncommitted;
  } else if (isolation != "read_committed") {
    return fail(ErrorCode::kInvalidConfig, "isolation.level=" + isolation + ": expected read_committed or read_uncommitted");
  }
  return options;
}

}  // namespace odradek::mirror
