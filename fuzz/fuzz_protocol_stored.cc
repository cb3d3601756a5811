#include "protocol_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return odradek::fuzz::try_message("stored", data, size); }
