# How Vecino is compiled: compiler cache, linker, warnings and sanitizers.

find_program(VECINO_CCACHE ccache)
if(VECINO_CCACHE)
  # Precompiled headers change on every build directory; without these ccache never hits with them.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${VECINO_CCACHE})
endif()

# mold with GCC's TSan run time mis-resolves nothing known, but link times matter most in release builds.
find_program(VECINO_MOLD mold)
if(VECINO_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# vecino_warnings: link it PRIVATE into each of our own targets.
add_library(vecino_warnings INTERFACE)
target_compile_options(vecino_warnings INTERFACE -Wall -Wextra -Wno-unused-parameter -Wnon-virtual-dtor
                                                 -Woverloaded-virtual -Wno-missing-field-initializers
                                                 # GCC 12 warns wrongly about string concatenation (GCC bug 105329)
                                                 -Wno-restrict)
if(VECINO_WERROR)
  target_compile_options(vecino_warnings INTERFACE -Werror)
endif()

if(VECINO_SANITIZER STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
elseif(VECINO_SANITIZER STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(NOT VECINO_SANITIZER STREQUAL "")
  message(FATAL_ERROR "VECINO_SANITIZER must be empty, 'address' or 'thread', not '${VECINO_SANITIZER}'")
endif()
