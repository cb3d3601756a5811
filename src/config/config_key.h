// The shape of one row of the key tables (broker_keys.h, topic_keys.h). Everything that is known about a key stands in its row:
// parsing, range checks, DescribeConfigs, dynamic update, the start-up refusals and docs/config.md read it from there.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace odradek::config {

// The values are DescribeConfigs' type codes (v3+).
enum class Type : int8_t {
  kUnknown = 0, kBoolean = 1, kString = 2, kInt = 3, kShort = 4, kLong = 5, kDouble = 6, kList = 7, kClass = 8, kPassword = 9,
};
enum class Importance : int8_t { kHigh, kMedium, kLow };
enum class Update : int8_t {
  kReadOnly,     // takes effect at a restart
  kPerBroker,    // at run time, for one broker
  kClusterWide,  // at run time, for one broker or as the default of all
};
// What a key does here. Unknown keys get a warning and are kept.
enum class Fate : int8_t {
  kWorks,
  kHarmless,  // no meaning here and nothing is lost by that: named once in the log if it is set; `note` says why
  kRefused,   // a value other than the harmless ones stops the start; `note` says why and what to do
};
// The values of a kRefused key that start-up refuses.
enum class RefusedIf : int8_t {
  kNever,
  kSet,         // any value that is not empty
  kTrue,
  kNotDefault,  // any value but the default
  kChecked,     // decided by validate.cc from several keys
};

// `range`, one of:
//   ""                    anything of the type
//   "14.." "0..1"         numbers, both ends included; "1..9 or -1": also that one
//   "a|b|c"               one of these (strings) / each element one of these (lists); "~a|b": without regard to case
//   "non-empty"           a string or list that is not empty
//   "replicas"            `*`, or a list of partition:broker
//   "release"             a Kafka release name such as 2.8 or 3.9-IV0
struct ConfigKey {
  std::string_view name;
  Type type = Type::kString;
  const char* default_value = nullptr;  // nullptr: unset (null on the wire); "": empty
  std::string_view range;
  Importance importance = Importance::kMedium;
  Update update = Update::kReadOnly;
  Fate fate = Fate::kWorks;
  RefusedIf refused_if = RefusedIf::kNever;
  std::string_view doc;   // one line: what it does
  std::string_view note;  // kHarmless, kRefused: why, and what to do instead
  bool internal = false;  // Kafka keeps it out of its own documentation
  bool ours = false;      // Kafka does not know it: stored apart from Kafka's keys (metadata/cluster_config.h)
};

std::string_view name_of(Type type);
std::string_view name_of(Importance importance);
std::string_view name_of(Update update);
std::string_view name_of(Fate fate);

// A value in the form its type needs. Exactly one alternative is meaningful.
struct Value {
  bool is_null = true;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string text;               // strings, classes, passwords; and the canonical text of all others
  std::vector<std::string> list;  // kList
};

// Reads `text` as `key`'s type and checks its range. Spaces around it are dropped.
// Errors: kInvalidConfig, "Invalid value x for configuration y: ..." in Kafka's words.
Result<Value> parse_value(const ConfigKey& key, const std::optional<std::string>& text);
// As Java prints a double: 0.25, 1.0, 1.0E-5.
std::string java_double(double value);
std::string_view trim(std::string_view text);
// Elements of a comma separated list, without spaces around them; "" has none.
std::vector<std::string> split_list(std::string_view text);
// The same without empty elements: so Kafka reads listeners, log.dirs and their like, where a comma too many does no harm.
std::vector<std::string> split_csv(std::string_view text);

}  // namespace odradek::config
