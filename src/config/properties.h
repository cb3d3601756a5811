// Java's .properties syntax, as of server.properties.
// Lines end with \n, \r or \r\n; `#` and `!` begin a comment line; key and value are parted by `=`, `:` or white space; a line that
// ends with an odd number of backslashes goes on in the next one; \t \n \r \f \uXXXX and any other escaped character are themselves.
// Bytes above 127 are Latin-1, as Java reads them; the result is UTF-8. Of two equal keys the later one counts.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace odradek::config {

using Properties = std::map<std::string, std::string, std::less<>>;

// Errors: kInvalidConfig with the line number, for a malformed \u escape.
Result<Properties> parse_properties(std::string_view text);

}  // namespace odradek::config
