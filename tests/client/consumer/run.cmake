# cmake -DBUILD_DIR=… -DWORK_DIR=… -DSOURCE_DIR=… -DGENERATOR=… -DCXX=… -P run.cmake
file(REMOVE_RECURSE ${WORK_DIR})
function(step)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "failed (${code}): ${ARGN}")
  endif()
endfunction()

step(${CMAKE_COMMAND} --install ${BUILD_DIR} --component client --prefix ${WORK_DIR}/prefix)
# The public headers stand alone: neither gRPC nor protobuf headers are reachable through them.
foreach(name client ingest types)
  file(READ ${WORK_DIR}/prefix/include/vecino/${name}.h header)
  if(header MATCHES "grpc(pp)?/|google/protobuf|\\.pb\\.h")
    message(FATAL_ERROR "the public header ${name}.h names gRPC or protobuf headers")
  endif()
endforeach()
step(${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${WORK_DIR}/build -G ${GENERATOR}
     -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix)
step(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
step(${WORK_DIR}/build/consumer)
