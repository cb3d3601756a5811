// Java's .properties syntax, as of server.properties.
// Lines end with \n, \r or \r\n; `#` and `!` begin a comment line; key and value are parted by `=`, `:` or white space; a line that
// ends with an odd number of backslashes goes on in the next one; \t \n \r \f \uXXXX and any other escaped character are themselves.
// The result is UTF-8. Of two equal keys the later one counts.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace odradek::config {

using Properties = std::map<std::string, std::string, std::less<>>;

// What bytes above 127 are: Latin-1, as Java reads a file, or UTF-8, as Kafka's FileConfigProvider does.
enum class Encoding { kLatin1, kUtf8 };

// Errors: kInvalidConfig with the line number, for a malformed \u escape.
Result<Properties> parse_properties(std::string_view text, Encoding encoding = Encoding::kLatin1);

// Puts what the providers named in `config.providers` know in the place of ${provider:path:key} and ${provider:key} in all values, as
// Kafka's brokers do: EnvVarConfigProvider the environment's variable <key> (allowlist.pattern), FileConfigProvider the value of <key> in the
// properties file <path>, DirectoryConfigProvider the content of the file <key> in the folder <path> (both: allowed.paths). What no provider
// knows stays as it is. Errors: kInvalidConfig: a class that is none of these, a file that cannot be read.
Result<void> fill_in_variables(Properties& properties);

}  // namespace odradek::config
