#include "replication/partition/types.h"

namespace odradek::replication {

std::string to_text(const std::vector<BrokerId>& ids) {
  std::string text;
  for (BrokerId id : ids) text += (text.empty() ? "" : ",") + std::to_string(id.value);
  return "[" + text + "]";
}

}  // namespace odradek::replication
