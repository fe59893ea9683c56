# Passes when `program` fails and says `expected`: cmake -Dprogram=... -Dexpected=regex [-Dfilter=name] -P must_fail.cmake
execute_process(COMMAND "${program}" ${filter} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 60)
if(status EQUAL 0)
  message(FATAL_ERROR "the planted bug was not found\n${output}")
endif()
if(NOT output MATCHES "${expected}")
  message(FATAL_ERROR "failed (${status}) without saying '${expected}'\n${output}")
endif()
message(STATUS "found: ${CMAKE_MATCH_0}")
