#include "coordinator/group/subscription.h"

#include <cstdint>

namespace odradek::coordinator {

bool add_subscribed_topics(ByteView metadata, base::StringSet& topics) {
  if (metadata.size() < 6) return false;
  if (base::load_be<int16_t>(metadata.data()) < 0) return false;
  int32_t count = base::load_be<int32_t>(metadata.data() + 2);
  if (count < 0) return false;
  ByteView rest = metadata.subspan(6);
  for (int32_t i = 0; i < count; ++i) {
    if (rest.size() < 2) return false;
    int16_t length = base::load_be<int16_t>(rest.data());
    if (length < 0 || rest.size() - 2 < static_cast<size_t>(length)) return false;
    topics.emplace(as_text(rest.subspan(2, static_cast<size_t>(length))));
    if (topics.size() > kMostSubscribedTopics) return false;
    rest = rest.subspan(2 + static_cast<size_t>(length));
  }
  return true;
}

}  // namespace odradek::coordinator
