// What the broker understands of a consumer's opaque subscription (ConsumerProtocolSubscription): its topics.
#pragma once


#include <string>

#include "base/bytes.h"
#include "base/string_map.h"

namespace odradek::coordinator {

// More than any real group reads; a hostile one would fill the memory with their names.
inline constexpr size_t kMostSubscribedTopics = 50'000;

// Adds the topics of `metadata` (int16 version, int32 count, that many int16-length strings; the rest differs between versions and is
// not looked at). False, if it is not such a subscription, or `topics` would be more than kMostSubscribedTopics: it then holds a part of
// them.
bool add_subscribed_topics(ByteView metadata, base::StringSet& topics);

}  // namespace odradek::coordinator
