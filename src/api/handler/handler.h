// What a handler is: one function per request, in the file of its name, declared in the handlers.h of its room. It owns the request from
// now on and finishes it exactly once, on any thread; what does not answer at once calls settle() when its effect is done
// (request/request_context.h).
// Thread: a handler thread; it must not wait for the disk, the store or a peer.
#pragma once

#include "api/handler/services.h"
#include "request/request_context.h"

namespace odradek::api {

using Handler = void (*)(Services&, request::RequestPtr);

}  // namespace odradek::api
